#!/usr/bin/env python3
"""Renders templates with jinja2 and writes what src/template/ must give: tests/data/template/{chat,edges,tasks}.json.

    python3 scripts/make-template-fixtures.py

Needs jinja2 (made with 3.1.6) and nothing else. The environment is that in which chat templates of Hugging Face models are rendered (the
immutable sandbox, break and continue, {% generation %}, tojson without escapes for HTML); options say what differs. A
case has an output, or an error: the words that raise_exception was given, or an empty text for errors of jinja2 itself,
whose words are not ours. The time is 2024-07-26 12:30:45.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from template_fixtures import conversations, edges, tasks  # noqa: E402

DATA = pathlib.Path(__file__).parent.parent / "tests/data/template"
NOW = datetime.datetime(2024, 7, 26, 12, 30, 45)


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: marks what a model wrote; the text is as without it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(options):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=options.get("trim_blocks", False),
        lstrip_blocks=options.get("lstrip_blocks", False),
        keep_trailing_newline=options.get("keep_trailing_newline", False),
        undefined=jinja2.StrictUndefined if options.get("strict_undefined") else jinja2.Undefined,
        extensions=[Generation, jinja2.ext.loopcontrols],
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def case_of(env, source, variables):
    case = {}
    try:
        case["output"] = env.from_string(source).render(json.loads(json.dumps(variables)))
    except jinja2.exceptions.TemplateSyntaxError:
        case["error"] = ""
    except Exception as error:  # whatever a template makes Python raise
        case["error"] = str(error) if type(error) is jinja2.exceptions.TemplateError else ""
    return case


def fixture(name, source, options, many_variables):
    env = environment(options)
    return {"name": name, "options": options, "template": source,
            "cases": [case_of(env, source, variables) for variables in many_variables]}


def write(name, fixtures, many_variables):
    """The n-th case of every template has the n-th of the variables."""
    names = [f["name"] for f in fixtures]
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
    path = DATA / f"{name}.json"
    file = {"variables": many_variables, "templates": fixtures}
    path.write_text(json.dumps(file, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    cases = [case for f in fixtures for case in f["cases"]]
    print(f"{path.name}: {len(fixtures)} templates, {len(cases)} cases, {sum('error' in c for c in cases)} of them errors")


def main():
    chat_options = {"trim_blocks": True, "lstrip_blocks": True}
    write("chat", [fixture(path.stem, path.read_text(encoding="utf-8"), chat_options, conversations.ALL)
                   for path in sorted((DATA / "chat").glob("*.jinja"))], conversations.ALL)
    write("edges", [fixture(name, source, options, [edges.VARIABLES])
                    for name, source, options in edges.ALL], [edges.VARIABLES])
    task_options = {"strict_undefined": True, "keep_trailing_newline": True}
    write("tasks", [fixture(name, source, task_options, tasks.DOCUMENTS) for name, source in tasks.ALL], tasks.DOCUMENTS)


if __name__ == "__main__":
    main()
