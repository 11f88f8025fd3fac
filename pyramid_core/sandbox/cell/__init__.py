"""The inside of the sandbox: what runs in a process of its own, and imports nothing of the project.

It is found there under this folder's own name, so its modules import each other relatively.
"""
