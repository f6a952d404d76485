"""Networks: torch modules that are built from the shape of a row and the number of outputs."""

from project.nets.backbone import Backbone
from project.nets.cnn import CNN
from project.nets.ensemble import Ensemble
from project.nets.gpt import GPT
from project.nets.linear import Linear
from project.nets.lora import LoRA
from project.nets.mlp import MLP
from project.nets.net import Net, SequenceNet
from project.nets.pruned import Pruned
from project.nets.rnn import RNN
from project.nets.table_net import TableNet
from project.nets.transformer import EncoderDecoder, Transformer

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "RNN",
    "Backbone",
    "EncoderDecoder",
    "Ensemble",
    "Linear",
    "LoRA",
    "Net",
    "Pruned",
    "SequenceNet",
    "TableNet",
    "Transformer",
]
