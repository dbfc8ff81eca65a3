"""A small Llama in PyTorch with Hugging Face's parameter names, used only to train the demonstration."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOOK_BACK = (
    1,
    2,
    3,
)  # tokens back that the first heads of the first block start out looking
SHARPNESS = 5.0  # of that look: about 0.6 of the attention
MIDDLE = 4  # blocks behind which training asks for the person that a question is about
SAMENESS = 1.2  # scale of queries and keys where a token looks for itself


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 1024
    width: int = 128
    layers: int = 6
    heads: int = 4
    hidden: int = 256
    context: int = 1024
    rope_theta: float = 10000.0
    epsilon: float = 1e-5


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(shape.width, shape.width, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(rows, length, self.heads, -1).transpose(1, 2)

        def rotate(y: Tensor) -> Tensor:
            first, second = y.chunk(2, dim=-1)
            return y * cos[:length] + torch.cat((-second, first), dim=-1) * sin[:length]

        q, k, v = (
            rotate(split(self.q_proj(x))),
            rotate(split(self.k_proj(x))),
            split(self.v_proj(x)),
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(rows, length, width))


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Token ids (rows, length) to logits (rows, length, vocabulary), the head separate from the embeddings.

    Looking something up in the context is all this model has to learn, and how it starts decides whether it
    does so in minutes or not at all:

    - Embeddings have standard deviation 1 and what blocks add to them starts small, so that a token can
      still be recognized behind the first block. The head starts near zero.
    - Three heads of the first block start out looking one, two and three tokens back: embeddings share a
      direction, to which queries and keys respond with a rotation that many positions apart.
    - In later blocks half of the heads start with equal queries and keys, so that a token looks at earlier
      occurrences of itself (after Trockman & Kolter 2023, arXiv 2305.09828).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        size = shape.width // shape.heads
        inverse = shape.rope_theta ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
        angles = torch.outer(torch.arange(shape.context, dtype=torch.float32), inverse).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    @torch.no_grad()
    def start(self) -> None:
        """Draws the weights that training starts from."""
        shape = self.shape
        size = shape.width // shape.heads
        for weight in self.parameters():
            if weight.ndim == 2:
                weight.normal_(std=1 / math.sqrt(weight.shape[1]))
        self.lm_head.weight.normal_(std=0.02)
        self.embed_tokens.weight.normal_().add_(0.5 * torch.randn(shape.width))
        shared = F.normalize(self.embed_tokens.weight.mean(0), dim=0)
        for block in self.layers:
            block.mlp.down_proj.weight.mul_(0.1)
        attention = self.layers[0].self_attn
        response = SHARPNESS / (F.rms_norm(self.embed_tokens.weight, (shape.width,)) @ shared).mean()
        ahead = torch.ones(size)
        for head, back in enumerate(LOOK_BACK):
            rows = slice(head * size, (head + 1) * size)
            first, second = ahead.chunk(2)
            cos, sin = self.cos[back, : size // 2], self.sin[back, : size // 2]
            turned = torch.cat((first * cos - second * sin, first * sin + second * cos))
            for weight, direction in (
                (attention.q_proj.weight, ahead),
                (attention.k_proj.weight, turned),
            ):
                weight[rows] = 0.1 * weight[rows] + response * torch.outer(direction, shared)
        for block in list(self.layers)[1:]:
            rows = slice(0, shape.heads // 2 * size)
            drawn = block.self_attn.q_proj.weight[rows]
            same = SAMENESS * (drawn - torch.outer(drawn @ shared, shared))
            block.self_attn.q_proj.weight[rows] = same
            block.self_attn.k_proj.weight[rows] = same

    def hidden(self, ids: Tensor) -> Tensor:
        return self.hidden_and_middle(ids)[0]

    def hidden_and_middle(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What the head reads, and the state behind block `MIDDLE`, both (rows, length, width)."""
        x = middle = self.embed_tokens(ids)
        for number, block in enumerate(self.layers, start=1):
            x = block(x, self.cos, self.sin)
            if number == MIDDLE:
                middle = x
        return self.norm(x), middle

    def middle_logits(self, middle: Tensor) -> Tensor:
        """What the state in the middle says in terms of the embeddings; a training signal only."""
        shape = self.shape
        scale = 3 / math.sqrt(shape.width)
        return F.linear(F.rms_norm(middle, (shape.width,)), self.embed_tokens.weight) * scale

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.lm_head(self.hidden(ids))
        return logits


def hugging_face_config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": shape.epsilon,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
