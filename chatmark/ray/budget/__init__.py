"""
One budget of calls for all workers: a window, the server that lends its permits, the workers' side.
"""
