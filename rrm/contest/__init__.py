"""Every objective trained on one reward model, from one base, at one KL: what each of them makes of the same reward."""
