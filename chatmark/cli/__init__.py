"""The command line. Commands call the library and print the results."""
