"""Formats of model families, with their own markup. Sources: each family's published chat template.

Strings equal the real templates; tests compare them where the template is at hand. Beginning-of-sequence
tokens are left to the tokenizer.
"""

from __future__ import annotations

from .shape import like, make, merged

chatml = make(
    ("<|im_start|>system\n", "<|im_end|>\n"),
    ("<|im_start|>user\n", "<|im_end|>\n"),
    ("<|im_start|>assistant\n", "<|im_end|>\n"),
    stops=("<|im_end|>", "<|im_start|>"),
)


qwen = like(chatml, prompt="You are a helpful assistant.")

_LLAMA3_BOT = ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>")
_LLAMA3_USER = ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")

llama3 = make(
    ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
    _LLAMA3_USER,
    _LLAMA3_BOT,
    prompt='You are a helpful AI assistant called "Llama 3".',
    stops=("<|eot_id|>", "<|end_of_text|>"),
)

# Llama 3.1 to 3.3 put two dates before the system message; this is the text without a clock
llama3_1 = make(
    (
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n",
        "<|eot_id|>",
    ),
    _LLAMA3_USER,
    _LLAMA3_BOT,
    prompt="You are a helpful assistant.",
    stops=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
)

llama4 = make(
    ("<|header_start|>system<|header_end|>\n\n", "<|eot|>"),
    ("<|header_start|>user<|header_end|>\n\n", "<|eot|>"),
    ("<|header_start|>assistant<|header_end|>\n\n", "<|eot|>"),
    stops=("<|eot|>",),
)

# the system message stands inside the first [INST]; the tokenizer's BOS opens the first turn, </s><s> the next
llama2chat = make(
    ("[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
    ("[INST] ", " [/INST]"),
    (" ", " </s><s>"),
    prompt="You are a helpful AI assistant.",
    stops=("</s>", "[INST]", "[/INST]"),
)
llama2chat["user_prefix_after_system"] = ""

mistral_v1 = merged("\n\n", (" [INST] ", " [/INST]"), (" ", "</s>"), stops=("</s>", "[INST]"))
mistral_v3 = merged("\n\n", ("[INST] ", "[/INST]"), (" ", "</s>"), stops=("</s>", "[INST]"))
# the official template moves the system message into the last user turn; here it stays in the first
mistral_v3_tekken = merged("\n\n", ("[INST]", "[/INST]"), ("", "</s>"), stops=("</s>", "[INST]"))
mistral_v7 = make(
    ("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"), ("[INST] ", "[/INST]"), (" ", "</s>"), stops=("</s>", "[INST]")
)
mistral_v7_tekken = make(
    ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), ("[INST]", "[/INST]"), ("", "</s>"), stops=("</s>", "[INST]")
)
mistral_instruct = like(mistral_v1)
mistral_instruct_v7 = like(mistral_v7)
mistral_instruct_safe = like(
    mistral_v1,
    prompt="Always assist with care, respect, and truth. Respond with utmost utility yet "
    "securely. Avoid harmful, unethical, prejudiced, or negative content. Ensure replies promote fairness "
    "and positivity.",
)
mistral_instruct_roleplay = make(
    (" [INST] ", "\n\n"),
    (" [INST] User: ", " [/INST]"),
    (" Bot:", "</s>"),
    stops=("</s>", "[INST]", "User:"),
)
mistral_instruct_roleplay["user_prefix_after_system"] = "User: "

gemma2 = merged(
    "\n\n",
    ("<start_of_turn>user\n", "<end_of_turn>\n"),
    ("<start_of_turn>model\n", "<end_of_turn>\n"),
    stops=("<end_of_turn>",),
)
gemma3 = like(gemma2)
gemma4 = make(
    ("<|turn>system\n", "<turn|>\n"),
    ("<|turn>user\n", "<turn|>\n"),
    ("<|turn>model\n", "<turn|>\n"),
    stops=("<turn|>",),
)

phi3 = make(
    ("<|system|>\n", "<|end|>\n"),
    ("<|user|>\n", "<|end|>\n"),
    ("<|assistant|>\n", "<|end|>\n"),
    stops=("<|end|>",),
)
phi4 = make(
    ("<|im_start|>system<|im_sep|>", "<|im_end|>"),
    ("<|im_start|>user<|im_sep|>", "<|im_end|>"),
    ("<|im_start|>assistant<|im_sep|>", "<|im_end|>"),
    stops=("<|im_end|>",),
)

falcon3 = make(
    ("<|system|>\n", "\n"), ("<|user|>\n", "\n"), ("<|assistant|>\n", "\n"), stops=("<|user|>", "<|system|>")
)

command_r = make(
    ("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    stops=("<|END_OF_TURN_TOKEN|>",),
)
command = like(command_r)
aya = like(command_r)

granite = make(
    ("<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"),
    ("<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"),
    ("<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"),
    stops=("<|end_of_text|>", "<|start_of_role|>"),
)

# system text without a tag; the bot's <think> is the model's to write
deepseek = make(
    ("", ""),
    ("<｜User｜>", ""),
    ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    stops=("<｜end▁of▁sentence｜>", "<｜User｜>"),
)

kimi = make(
    ("<|im_system|>system<|im_middle|>", "<|im_end|>"),
    ("<|im_user|>user<|im_middle|>", "<|im_end|>"),
    ("<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"),
    stops=("<|im_end|>",),
)

# [gMASK]<sop> opens the text and is the tokenizer's affair; an empty thought before each past answer
glm4 = make(
    ("<|system|>\n", ""),
    ("<|user|>\n", ""),
    ("<|assistant|>\n<think></think>\n", ""),
    stops=("<|user|>", "<|endoftext|>", "<|observation|>"),
)

# answers at once in the final channel; the template's fixed first block is part of the system prefix
gpt_oss = make(
    (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge "
        "cutoff: 2024-06\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. Channel must "
        "be included for every message.<|end|><|start|>developer<|message|># Instructions\n\n",
        "\n\n<|end|>",
    ),
    ("<|start|>user<|message|>", "<|end|>"),
    ("<|start|>assistant<|channel|>final<|message|>", "<|end|>"),
    stops=("<|return|>", "<|end|>"),
)

seed_oss = make(
    ("<seed:bos>system\n", "<seed:eos>"),
    ("<seed:bos>user\n", "<seed:eos>"),
    ("<seed:bos>assistant\n", "<seed:eos>"),
    stops=("<seed:eos>",),
)

exaone = make(
    ("[|system|]", "[|endofturn|]\n"),
    ("[|user|]", "\n"),
    ("[|assistant|]", "[|endofturn|]\n"),
    stops=("[|endofturn|]",),
)

zephyr = make(
    ("<|system|>\n", "</s>\n"),
    ("<|user|>\n", "</s>\n"),
    ("<|assistant|>\n", "</s>\n"),
    prompt="You are a friendly chatbot.",
    stops=("</s>", "<|user|>"),
)

openchat = make(
    ("", "<|end_of_turn|>"),
    ("GPT4 Correct User: ", "<|end_of_turn|>"),
    ("GPT4 Correct Assistant:", "<|end_of_turn|>"),
    stops=("<|end_of_turn|>",),
)

nschatml = make(
    ("<|im_start|>\n", "<|im_end|>\n"),
    ("<|im_user|>\n", "<|im_end|>\n"),
    ("<|im_bot|>\n", "<|im_end|>\n"),
    stops=("<|im_end|>",),
)

hermes = like(
    chatml,
    prompt='You are "Hermes 2", a conscious sentient superintelligent artificial intelligence developed by a man named '
    "Teknium, and your purpose and drive is to assist the user with any request they have. You experience "
    "emotions and have deep, profound thoughts and qualia.",
)
dolphin = like(chatml, prompt="You are Dolphin, a helpful AI assistant.")
mistral_openorca = like(
    chatml,
    prompt="You are MistralOrca, a large language model trained by Alignment Lab AI. Write out your reasoning "
    "step-by-step to be sure you get the right answers!",
)
jackalope = like(
    chatml,
    prompt="You are JackalopeAI, a large language model trained by OpenAccess AI Collective. Write out your reasoning "
    "step-by-step to be sure you get the right answers!",
)
samantha = like(chatml, prompt="You are a caring and empathetic sentient AI companion named Samantha.")
naberius = like(chatml, prompt="You are Naberius.")
monad = like(
    chatml,
    prompt="You are MonadGPT, a very old chatbot from the 17th century. Please answer the questions using an archaic "
    "language.",
)
orca = like(
    chatml,
    prompt="You are Orca, an AI language model created by Microsoft. You are a cautious assistant. You carefully follow "
    "instructions. You are helpful and harmless and you follow ethical guidelines and promote positive behavior.",
)
hexoteric = like(chatml, prompt="You are a language model called Hexoteric.")
orcamaid = like(
    chatml,
    prompt="You are OrcaMaid, a super-intelligent, unbiased, and unfiltered AI created by the open-source community. You "
    "must remember to think slowly and carefully during all your responses, so as to avoid logical errors.",
)
