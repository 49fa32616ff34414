"""The verbs in Python, as on the command line."""
