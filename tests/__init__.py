"""Tests of the project.

They build hundreds of parsers in one process: each docstring is parsed once.
"""

import functools

import docstring_parser

docstring_parser.parse = functools.cache(docstring_parser.parse)
