"""The conversations that every chat template is rendered with."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, <now> & \"later\".",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": " A city, like Zürich "},
                "days": {"type": "integer", "description": "How many", "default": 1},
                "unit": {"type": "string", "enum": ["celsius", "kelvin"], "description": "Unit"},
                "spots": {"type": "array", "items": {"type": "number"}, "description": "Heights"},
                "near": {"type": ["string", "integer"], "description": "Either"},
            },
            "required": ["place"],
        },
        "return": {"type": "object", "description": "What is known"},
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "The time.",
                 "parameters": {"type": "object", "properties": {}, "required": []}},
}

USER = {"role": "user", "content": "  How warm is it in Zürich?\n"}
SYSTEM = {"role": "system", "content": "You are terse. Écris en français."}
ANSWER = {"role": "assistant", "content": " 21 °C \n"}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "abcdefgh1", "type": "function",
     "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "exact": True, "limit": None, "f": 0.5}}}]}
CALL_BESIDE_TEXT = {**CALL, "content": "I look."}
TWO_CALLS = {**CALL, "content": "", "tool_calls": CALL["tool_calls"] + [
    {"id": "abcdefgh2", "type": "function", "function": {"name": "clock", "arguments": {}}}]}
RESULT = {"role": "tool", "name": "get_weather", "content": "{\"celsius\": 21}", "tool_call_id": "abcdefgh1"}
SECOND_RESULT = {"role": "tool", "name": "clock", "content": "12:30", "tool_call_id": "abcdefgh2"}
THOUGHT = {"role": "assistant", "content": "<think>\nA city.\nWarm?\n</think>\n\nWarm."}
REASONING = {"role": "assistant", "reasoning_content": "\nShort is better.\n", "content": "\n\nYes."}
PARTS = {"role": "user", "content": [{"type": "text", "text": " Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]}

TALKS = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, {"role": "user", "content": "And \"tomorrow\"? <b>&amp;</b> 🌤️"}],
    "system_turns": [SYSTEM, USER, ANSWER, USER, ANSWER],
    "call": [USER, CALL],
    "result": [SYSTEM, USER, CALL, RESULT],
    "answered": [USER, CALL_BESIDE_TEXT, RESULT, ANSWER, USER],
    "two_calls": [SYSTEM, USER, TWO_CALLS, RESULT, SECOND_RESULT, ANSWER],
    "thought": [USER, THOUGHT],
    "thought_before": [USER, THOUGHT, USER, REASONING],
    "thought_then_call": [USER, {**REASONING, **CALL}, RESULT, REASONING],
    "parts": [PARTS],
    "wrong_order": [USER, USER],
    "late_system": [USER, SYSTEM, ANSWER],
    "empty_text": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
    "nothing": [],
    "no_think": [{"role": "system", "content": "/no_think Be short.  "}, USER, THOUGHT],
}


def _variables():
    for name, messages in TALKS.items():
        tools = {"tools": [WEATHER, CLOCK]} if "call" in name or name in ("result", "answered", "one") else {}
        for prompt in (True, False):
            yield {"bos_token": "<s>", "eos_token": "</s>", "messages": messages, "add_generation_prompt": prompt, **tools}
    yield {"bos_token": "<s>", "eos_token": "</s>", "messages": [SYSTEM, USER], "tools": None, "add_generation_prompt": True}
    yield {"bos_token": "<s>", "eos_token": "</s>", "messages": [USER], "enable_thinking": False, "add_generation_prompt": True}
    yield {"bos_token": "<s>", "eos_token": "</s>", "messages": [USER], "date_string": "1 Jan 2025", "tools": [CLOCK]}
    yield {"bos_token": "<s>", "eos_token": "</s>", "messages": [USER, ANSWER], "add_generation_prompt": True, "documents": [
        {"id": 7, "title": "A", "text": "one two three four five six seven eight nine ten eleven"}, {"text": "short"}]}


ALL = list(_variables())
