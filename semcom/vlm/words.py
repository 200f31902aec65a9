"""Text in and out of a processor: prompts, candidate answers, decoded answers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from channels.errors import InputError
from semcom.vlm.prompts import chat, without

Ids = tuple[int, ...]
_MARK = "semcom mark"  # finds in a rendered prompt where the user's words end


class Words:
    """The tokeniser and the chat template of one processor.

    Every text that passes through is foreign: special tokens in it are taken out first, and lone surrogates
    are replaced, so that it can neither open an image slot nor end the turn nor crash the tokeniser.
    """

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        # a checkpoint without an image token (BLIP) takes its image beside the text
        self.image_token: str = str(getattr(processor, "image_token", None) or "")
        self._special = [*self.tokenizer.all_special_tokens, self.image_token, self.tokenizer.bos_token or ""]
        self._candidate = lru_cache(maxsize=4096)(self._encode_candidate)
        self._fitted = lru_cache(maxsize=2048)(self._encode_fitted)  # a data set repeats its questions
        self._tail = self._generation_prompt()

    def clean(self, text: str) -> str:
        """``text`` as plain words: no special tokens, valid unicode."""
        return without(text.encode("utf-8", "replace").decode("utf-8"), self._special)

    def prompt(self, text: str, image: bool) -> str:
        """The rendered user turn, with one image placeholder or none, up to where the answer begins."""
        text = self.clean(text)
        if self.processor.chat_template is None:
            return f"{self.image_token} {text}" if image and self.image_token else text
        return str(
            self.processor.apply_chat_template(chat(text, image), add_generation_prompt=True, tokenize=False)
        )

    def ids(self, prompt: str) -> Ids:
        """Token ids of a rendered prompt; the beginning-of-text token stands in it at most once."""
        begun = bool(self.tokenizer.bos_token) and prompt.startswith(self.tokenizer.bos_token)
        return tuple(self.tokenizer(prompt, add_special_tokens=not begun).input_ids)

    def fitted(self, text: str, image: bool, room: int) -> Ids:
        """Token ids of ``prompt(text, image)``; text too long for ``room`` tokens loses its beginning.

        The end is kept because a question stands after the text that it is asked of.
        """
        return self._fitted(text[-16 * room :], image, room)

    def candidate(self, text: str) -> Ids:
        """Token ids of an answer as they follow a prompt; :class:`InputError` when there are none."""
        return self._candidate(text)

    def decode(self, ids: Any) -> str:
        """Generated ids as clean text: no special tokens, single spaces."""
        return " ".join(self.tokenizer.decode(ids, skip_special_tokens=True).split())

    def _encode_fitted(self, text: str, image: bool, room: int) -> Ids:
        while len(ids := self.ids(self.prompt(text, image))) > room and text:
            text = text[len(text) - int(0.9 * len(text) * room / len(ids)) :]
        return ids

    def _generation_prompt(self) -> str:
        """What the template puts between the user's words and the answer."""
        return self.prompt(_MARK, image=False).rpartition(_MARK)[2]

    def _encode_candidate(self, text: str) -> Ids:
        # subword tokenisers write a word differently after a space, so the answer is cut out of prompt +
        # answer
        gap = "" if not self._tail or self._tail[-1].isspace() else " "
        before = self.tokenizer(self._tail, add_special_tokens=False).input_ids
        answer = self.clean(text).strip()
        after = self.tokenizer(f"{self._tail}{gap}{answer}", add_special_tokens=False).input_ids
        if after[: len(before)] != before:
            before, after = [], self.tokenizer(answer, add_special_tokens=False).input_ids
        if not answer or len(after) == len(before):
            raise InputError(f"candidate answer {text!r} has no words that the model can say.")
        return tuple(after[len(before) :])
