"""Points by their errors, from one stratum after the other; the numbers are torch's."""

import torch


def sample_by_error(
    key: int, errors: torch.Tensor, count: int, *, uniform: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Walk along the distribution until the level drawn is passed."""
    generator = torch.Generator().manual_seed(key)
    total, number = errors.sum(), len(errors)
    chances = [(1 - uniform) * (e / total if total > 0 else 1 / number) + uniform / number for e in errors]
    indices = []
    for j in range(count):
        level, i = (j + torch.rand((), generator=generator, dtype=errors.dtype, device="cpu")) / count, 0
        passed = chances[0]
        while passed <= level and i < number - 1:
            i += 1
            passed = passed + chances[i]
        indices.append(i)
    weights = [1 / (number * torch.as_tensor(chances[i], device=errors.device)) for i in indices]
    return torch.tensor(indices, device=errors.device), torch.stack(weights)
