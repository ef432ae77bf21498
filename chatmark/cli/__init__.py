"""
The command line: one module a command, which asks the library and prints what it says.
"""
