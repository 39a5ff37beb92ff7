"""`l4lbctl top`: state.py decides what is shown, draw.py writes it, app.py puts it on the terminal. Only app.py knows Textual."""
