"""The pipelines of published byte-level tokenizers: midfill gives the ids of Hugging Face `tokenizers` without special
tokens. Their structure is public; the merges are learnt here, without a pattern, so that tokens reach over every place
where a pipeline may cut."""

import json
import os
import sys
import tempfile

try:
    import tokenizers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
except ImportError:
    print("skipped: the Python package tokenizers is missing")
    sys.exit(77)

from tokenizer_parity import (SPECIALS, code_points, compare, hand_written, midfill, random_texts, rule_texts, sources)


def byte_level(**changes):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True, **changes}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def patterns(*regexes, **rules):
    return sequence(*(split(r, **rules) for r in regexes), byte_level(use_regex=False))


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def template(*tokens):
    def special(token):
        return {"SpecialToken": {"id": token, "type_id": 0}}

    sentence = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [special(t) for t in tokens] + [sentence],
            "pair": [sentence, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [0], "tokens": [t]} for t in tokens}}


REFERENCE = "0.19.1"  # with another version fewer texts are compared
NFC = {"type": "NFC"}
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+")
QWEN2 = GPT4.replace("{1,3}", "")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|"
          r"\s+")
UPPER, LOWER, WE_LL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{WE_LL}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{WE_LL}|\p{{N}}{{1,3}}|"
         rf"{REST}")
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|{REST}"
KIMI = (rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^\p{{Han}}]]*"
        rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^\p{{Han}}]]+{WE_LL}|\p{{N}}{{1,3}}|{REST}")
IDEOGRAPHS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS]
DEEPSEEK_LLM = ["[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u0370-\u0373\u0391-\u03a1\u0400-\u052f]+",
                "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", IDEOGRAPHS]
DEEPSEEK_V3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
               r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
               r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
STARCODER = sequence(digits(True), byte_level())

# Everything but model and added tokens; a key that is missing is null.
PUBLISHED = {
    "GPT-2": dict(pre_tokenizer=byte_level(), post_processor=byte_level()),
    "GPT-J": dict(pre_tokenizer=byte_level(), post_processor=byte_level(add_prefix_space=True)),
    "GPT-NeoX-20B": dict(normalizer=NFC, pre_tokenizer=byte_level(), post_processor=byte_level()),
    "OLMo": dict(normalizer=NFC, pre_tokenizer=byte_level(), post_processor=template()),
    "RoBERTa": dict(pre_tokenizer=byte_level(), post_processor={
        "type": "RobertaProcessing", "sep": ["<|padding|>", 1], "cls": ["<|endoftext|>", 0], "trim_offsets": True,
        "add_prefix_space": False}),
    "BERT's processor": dict(pre_tokenizer=byte_level(add_prefix_space=True), post_processor={
        "type": "BertProcessing", "sep": ["<|padding|>", 1], "cls": ["<|endoftext|>", 0]}),
    "StarCoder": dict(pre_tokenizer=STARCODER, post_processor=byte_level()),
    "StarCoder2, Granite": dict(pre_tokenizer=STARCODER),
    "SmolLM": dict(pre_tokenizer=STARCODER, truncation={"direction": "Right", "max_length": 7,
                                                        "strategy": "LongestFirst", "stride": 0}),
    "Command R": dict(normalizer=NFC, pre_tokenizer=STARCODER, post_processor=template("<|endoftext|>")),
    "Qwen2": dict(normalizer=NFC, pre_tokenizer=patterns(QWEN2), post_processor=byte_level(trim_offsets=False)),
    "EXAONE": dict(normalizer=NFC, pre_tokenizer=patterns(GPT4)),
    "Llama 3": dict(pre_tokenizer=patterns(GPT4), ignore_merges=True, post_processor={
        "type": "Sequence", "processors": [byte_level(), template("<|endoftext|>")]}),
    "Mistral Nemo": dict(pre_tokenizer=patterns(TEKKEN), ignore_merges=True, post_processor=template("<|endoftext|>")),
    "o200k": dict(pre_tokenizer=patterns(O200K), post_processor=byte_level()),
    "cl100k": dict(pre_tokenizer=patterns(CL100K, behavior="Removed", invert=True)),
    "Phi-4": dict(pre_tokenizer=patterns(CL100K, behavior="Removed", invert=True), gap=True),
    "StableLM 2": dict(normalizer=NFC, pre_tokenizer=patterns(GPT4, behavior="Removed", invert=True)),
    "Kimi": dict(pre_tokenizer=patterns(KIMI)),
    "DeepSeek Coder": dict(normalizer={"type": "Sequence", "normalizers": []}, pre_tokenizer=sequence(
        *map(split, DEEPSEEK_CODER), digits(True), byte_level(use_regex=False)), post_processor=template()),
    "DeepSeek LLM": dict(normalizer={"type": "Sequence", "normalizers": []}, pre_tokenizer=sequence(
        *map(split, DEEPSEEK_LLM), digits(True), byte_level(use_regex=False))),
    "DeepSeek V3": dict(normalizer={"type": "Sequence", "normalizers": []}, pre_tokenizer=patterns(*DEEPSEEK_V3),
                        post_processor=byte_level(add_prefix_space=True, trim_offsets=False)),
    "Falcon": dict(pre_tokenizer=sequence({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), digits(False),
                                          split("[0-9][0-9][0-9]")),
                   padding={"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 1,
                            "pad_type_id": 0, "pad_token": "<|padding|>"}),
    "BLOOM": dict(pre_tokenizer=patterns(BLOOM), post_processor=byte_level(add_prefix_space=True, trim_offsets=False)),
    "NFKC": dict(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}]}, pre_tokenizer=byte_level()),
    # What no published pipeline has, but the format: the other ways to join matches and gaps, and where they meet.
    "punctuation alone": dict(pre_tokenizer=sequence({"type": "Punctuation", "behavior": "Isolated"}, byte_level(
        use_regex=False))),
    "merged with previous": dict(pre_tokenizer=patterns(r"[\p{P} \n]|\d+", behavior="MergedWithPrevious")),
    "merged with next": dict(pre_tokenizer=patterns(r"[\p{P} \n]|\d+", behavior="MergedWithNext")),
    "inverted": dict(pre_tokenizer=patterns(r"[\p{P} \n]|\d+", behavior="MergedWithNext", invert=True)),
    "inverted, previous": dict(pre_tokenizer=patterns(r"[\p{P} \n]|\d+", behavior="MergedWithPrevious", invert=True)),
    "contiguous": dict(pre_tokenizer=patterns(r"\p{L}|\s", behavior="Contiguous", invert=True)),
    "lines": dict(pre_tokenizer=patterns(r"^[ \t]+|[ \t]+$|\n")),
    "scripts": dict(pre_tokenizer=patterns(r"\p{Greek}+|\p{Han}+|\p{Hiragana}+|\P{Latin}|\p{^Ll}")),
}


def contractions():
    """Characters that a pattern may take for a letter of "'s" or "'ll" whatever their case."""
    chosen = [*map(chr, range(0x21, 0x250)), "\u1e9e", "\u212a", *map(chr, range(0xfb00, 0xfb07))]
    return ["".join(f"x'{c}y 'l{c} '{c}l '{c}e'" for c in chosen[i:i + 40]) for i in range(0, len(chosen), 40)]


def learn(folder):
    """A vocabulary whose tokens reach over everything: learnt from short pieces of text without a pattern."""
    text = "".join(sources()[:40])[:300_000] + "".join(hand_written()[:60]) * 20 + " ".join(map(str, range(3000)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.train_from_iterator((text[i:i + 40] for i in range(0, len(text), 40)), trainers.BpeTrainer(
        vocab_size=3000, min_frequency=2, show_progress=False, special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tokenizer.to_str())


def write(base, path, *, ignore_merges=False, gap=False, **pipeline):
    vocabulary, added = dict(base["model"]["vocab"]), [dict(token) for token in base["added_tokens"]]
    if gap:  # OpenAI's special tokens have ids of their own behind the others
        for token in added:
            token["id"] = vocabulary[token["content"]] = 20 + len(base["model"]["vocab"]) + token["id"]
    model = dict(base["model"], vocab=vocabulary, ignore_merges=ignore_merges)
    keys = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor")
    file = {"version": "1.0", **{key: pipeline.get(key) for key in keys}, "added_tokens": added,
            "decoder": byte_level(), "model": model}
    with open(path, "w", encoding="utf-8") as out:
        json.dump(file, out)


def main():
    fuzz = random_texts()
    texts = hand_written() + rule_texts() + contractions() + fuzz[:3000:3] + fuzz[3000:7000:2] + sources()[::6]
    points = list(code_points())
    if tokenizers.__version__ != REFERENCE:
        texts, points = texts[::3], points[::3]
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        base = learn(folder)
        path = os.path.join(folder, "tokenizer.json")
        for name, pipeline in PUBLISHED.items():
            if wanted and name not in wanted:
                continue
            write(base, path, **pipeline)
            reference = Tokenizer.from_file(path)
            reference.no_truncation()
            reference.no_padding()
            compare(path, texts + points[::9], name, reference)
            if name in ("NFKC", "punctuation alone", "DeepSeek V3", "Falcon"):
                compare(path, points, name + ", code points", reference)
        summary = midfill("info", "--tokenizer", path)
        assert b"EOD" in summary, summary
    print(f"{len(wanted or PUBLISHED)} pipelines agree")


main()
