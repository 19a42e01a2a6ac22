"""What `elegans.lm.load_lm` would refuse, found out without reading the weights."""

from pathlib import Path

from elegans.lm.directory import _check_config, _check_tensors, _check_weights, _refused, _tokenizer
from elegans.lm.model import TextModel, library, quiet


def check_lm(path: str | Path) -> TextModel:
    """The language model in a directory as `load_lm` gives it, but without weights: its tensors are on the device ``meta``.

    Of the weights only the headers are read, so this takes no longer for a large model than for a small one. The result
    knows tokenizer, context and sites, and computes nothing.

    Raises `ValueError`, in one line that names the file, the option or the tensor, for whatever `load_lm` would refuse.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; nothing is downloaded here")
    _check_config(directory / "config.json")
    _check_weights(directory)
    tokenizer = _tokenizer(directory)
    with quiet():
        try:
            model, found = library("transformers").AutoModelForCausalLM.from_pretrained(
                directory,
                device_map="meta",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except Exception as error:  # a config with senseless values fails in every way
            raise _refused(directory / "config.json", error) from None
    _check_tensors(directory, found)
    lm = TextModel(model.eval(), tokenizer)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= lm.vocab_size:
        raise ValueError(
            f"{directory}: the tokenizer has token {largest}, the model embeds only {lm.vocab_size} tokens"
        )
    return lm
