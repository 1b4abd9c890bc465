"""The same architectures in linen."""

import flax.linen as nn
import jax.numpy as jnp


class Basic(nn.Module):
    wide: int
    stride: int

    @nn.compact
    def __call__(self, x, train=False):
        def norm(name):
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)

        h = nn.Conv(self.wide, (3, 3), self.stride, padding=1, use_bias=False, name="conv1")(x)
        h = nn.Conv(self.wide, (3, 3), padding=1, use_bias=False, name="conv2")(nn.relu(norm("bn1")(h)))
        short = x[:, :: self.stride, :: self.stride]
        short = jnp.pad(short, ((0, 0), (0, 0), (0, 0), (0, self.wide - x.shape[-1])))
        return nn.relu(norm("bn2")(h) + short)


class ResNet20(nn.Module):
    classes: int = 10

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(16, (3, 3), padding=1, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        for wide in (16, 32, 64):
            for i in range(3):
                x = Basic(wide, 2 if i == 0 and wide > 16 else 1)(x, train)
        return nn.Dense(self.classes)(x.mean((1, 2)))


class Layer(nn.Module):
    heads: int
    causal: bool = False

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        h = nn.LayerNorm(epsilon=1e-5)(x)
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2])) if self.causal else None
        x = x + nn.MultiHeadDotProductAttention(self.heads)(h, mask=mask)
        h = nn.gelu(nn.Dense(4 * width)(nn.LayerNorm(epsilon=1e-5)(x)), approximate=self.causal)
        return x + nn.Dense(width)(h)


class Vit(nn.Module):
    width: int = 48
    depth: int = 3
    classes: int = 10

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (4, 4), 4, padding="VALID")(x)
        x = x.reshape(len(x), -1, self.width)
        token = self.param("cls", nn.initializers.normal(0.02), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, self.width)), x], 1)
        x = x + self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.width))
        for _ in range(self.depth):
            x = Layer(4)(x)
        return nn.Dense(self.classes)(nn.LayerNorm(epsilon=1e-5)(x)[:, 0])


class Gpt(nn.Module):
    words: int = 37
    width: int = 48
    depth: int = 3
    length: int = 12

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(self.words, self.width, name="wte")
        x = embed(tokens) + nn.Embed(self.length, self.width, name="wpe")(jnp.arange(tokens.shape[1]))[None]
        for _ in range(self.depth):
            x = Layer(4, causal=True)(x)
        return embed.attend(nn.LayerNorm(epsilon=1e-5)(x))


class Tagger(nn.Module):
    words: int = 37
    width: int = 16
    hidden: int = 24
    tags: int = 5

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(self.words, self.width)(tokens)
        for _ in range(2):
            x = nn.RNN(nn.OptimizedLSTMCell(self.hidden))(x)
        return nn.Dense(self.tags)(x)
