"""Formats in plain words, from the first years of open models. Sources: the models' own pages."""

from __future__ import annotations

from .families import llama2chat
from .shape import like, make

blank = make(("", ""), ("", ""), ("", ""))

alpaca = make(
    ("", "\n\n"),
    ("### Instruction:\n", "\n\n"),
    ("### Response:\n", "\n\n"),
    prompt="Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.",
    stops=("###", "Instruction:", "\n\n\n"),
)
alpaca_strict = like(
    alpaca,
    stops=(
        "###", "\n\n##", "\n\nInstruction:", "\n\nResponse:", "\n\n\n", "### Instruction:", "### Response:",
    ),
)  # fmt: skip
noromaid = make(
    ("", "\n\n"),
    ("### Instruction:\nBob: ", "\n\n"),
    ("### Response:\nAlice:", "\n\n"),
    prompt=alpaca["system_prompt"],
    stops=("###", "Instruction:", "\n\n\n"),
)
cat = like(
    alpaca,
    prompt="Below is a conversation between a curious cat and a demon summoned from hell called Nemesis. "
    "The evil Nemesis used to be a mortal killed by the medieval people because they objected to science. Now "
    "Nemesis just wants to come back and bring suffer to all those stupid human",
)
mytho_cat = like(
    alpaca,
    prompt="You are a large language model. You are the result of a merge between two models, one called "
    "MythoLogic and one called Cat. You are called MythoCat.",
)

vicuna_lmsys = make(
    ("", " "), ("USER: ", " "), ("ASSISTANT:", "</s>"), stops=("</s>", "USER:"),
    prompt="A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions.",
)  # fmt: skip
vicuna_common = make(
    ("", "\n\n"), ("USER: ", "\n"), ("ASSISTANT:", "</s>\n"), stops=("</s>", "USER:", "ASSISTANT:"),
    prompt=vicuna_lmsys["system_prompt"],
)  # fmt: skip

markup = make(
    ('<message from="system">', "</message>"),
    ('<message from="user">', "</message>"),
    ('<message from="bot">', "</message>"),
    stops=("</message>",),
)

guanaco = make(
    ("", "\n"), ("### Human: ", " "), ("### Assistant:", " "), stops=("###", "Human:"),
    prompt="A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions.",
)  # fmt: skip

orca_mini = make(
    ("### System:\n", "\n\n"), ("### User:\n", "\n\n"), ("### Assistant:\n", "\n\n"), stops=("###", "User:"),
    prompt="You are an AI assistant that follows instruction extremely well. Help as much as you can.",
)  # fmt: skip
solar_instruct = make(
    ("### System:\n", "\n\n"), ("### User:\n", "\n\n"), ("### Assistant:\n", "\n\n"),
    stops=("### User:", "###", "### Assistant:"),
)  # fmt: skip
neural_chat = make(
    ("### System:\n", "\n"), ("### User:\n", "\n"), ("### Assistant:\n", "\n"), stops=("###",),
    prompt="- You are a helpful assistant chatbot trained by Intel.\n- You answer questions.\n- You are excited to "
    "be able to help the user, but will refuse to do anything that could be considered harmful to the user.\n- You "
    "are more than just an information source, you are also able to write poetry, short stories, and make jokes.",
)  # fmt: skip

synthia = make(
    ("SYSTEM: ", "\n"), ("USER: ", "\n"), ("ASSISTANT: ", "\n"),
    stops=("USER:", "ASSISTANT:", "SYSTEM:", "\n\n\n"),
    prompt="Elaborate on the topic using a Tree of Thoughts and backtrack when necessary to construct a clear, "
    "cohesive Chain of Thought reasoning. Always answer without hesitation.",
)  # fmt: skip
tess = like(synthia, prompt="")

airoboros = like(llama2chat, prompt="You are a helpful, unbiased, uncensored assistant.")

metharme = make(("<|system|>", ""), ("<|user|>", ""), ("<|model|>", "</s>"), stops=("</s>", "<|user|>"))
pygmalion = like(metharme)

chatml_alpaca = make(
    ("<|im_start|>system\n", "<|im_end|>\n"),
    ("<|im_start|>instruction\n", "<|im_end|>\n"),
    ("<|im_start|>response\n", "<|im_end|>\n"),
    prompt=alpaca["system_prompt"],
    stops=("<|im_end|>", "<|im_start|>"),
)
autocorrect = make(
    ("<|im_start|>instruction\n", "<|im_end|>\n"),
    ("<|im_start|>input\n", "<|im_end|>\n"),
    ("<|im_start|>output\n", "<|im_end|>\n"),
    prompt="Below is a word or phrase that might be misspelled. Output the corrected word or phrase without changing "
    "the style or capitalization.",
    stops=("<|im_end|>", "<|im_start|>"),
)

bagel = make(
    ("system\n", "\n"), ("user\n", "\n"), ("assistant\n", "\n"), stops=("user\n", "assistant\n", "system\n")
)

natural = make(
    ("<<SYSTEM>> ", "\n\n"), ("<<USER>> ", "\n\n"), ("<<ASSISTANT>>", "\n\n"),
    stops=("\n\nNote:", "<<SYSTEM>>", "<<USER>>", "<<ASSISTANT>>", "\n\n<<"),
)  # fmt: skip
