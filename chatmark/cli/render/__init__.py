"""
Output on a terminal.
"""
