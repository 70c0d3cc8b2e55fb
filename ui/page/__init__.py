"""The page: a Gradio application over one run. `ui.page.app.make_app` puts it together."""
