"""The commands of `python -m experiments`: each file adds its own to the parser, and has what they do."""
