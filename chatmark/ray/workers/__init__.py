"""
The workers of a job: actors that send the changes of some users, their secrets and their results.
"""
