"""Steps that are measured by how far they move the policy's distribution, not its weights."""
