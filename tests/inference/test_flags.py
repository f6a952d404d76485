"""The flags of chat.py and generate.py."""

from project.inference.flags import add_writing_flags, writing_of
from project.runtime.arguments import ArgumentParser
from project.text.writing import Writing


def test_the_defaults_are_those_of_python():
    parser = ArgumentParser()
    add_writing_flags(parser)
    writing = writing_of(parser.parse_args([]))
    assert writing._replace(stop=()) == Writing()
    assert [type(value) for value in writing.sampling] == [float, int, float]
