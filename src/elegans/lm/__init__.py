"""Floor 2: causal language models with their tokenizers: load, grow, prompt, fine-tune.

All of it needs the transformers library (``pip install 'elegans[hf]'``), which is imported on first use. Nothing here
downloads anything or runs code of a checkpoint.
"""

from elegans.lm.directory import check_lm, load_lm
from elegans.lm.finetune import Lora, finetune, load_adapter
from elegans.lm.grow import pretrain, tiny_llama
from elegans.lm.metrics import span_f1
from elegans.lm.model import TextModel
from elegans.lm.prompting import answers, choice_log_probs, few_shot_prompt, score_answers
from elegans.lm.tokens import TextTask, char_tokenizer, encode, encode_pairs, word_tokenizer
from elegans.lm.verbalizer import KnowledgeableVerbalizer, ManualVerbalizer, Verbalizer

__all__ = [
    "KnowledgeableVerbalizer",
    "Lora",
    "ManualVerbalizer",
    "TextModel",
    "TextTask",
    "Verbalizer",
    "answers",
    "char_tokenizer",
    "check_lm",
    "choice_log_probs",
    "encode",
    "encode_pairs",
    "few_shot_prompt",
    "finetune",
    "load_adapter",
    "load_lm",
    "pretrain",
    "score_answers",
    "span_f1",
    "tiny_llama",
    "word_tokenizer",
]
