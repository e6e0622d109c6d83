"""The web page: `unmingle serve`. It separates and enhances with the functions of the command line, and
nothing else.
"""
