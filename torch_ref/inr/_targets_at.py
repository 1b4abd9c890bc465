"""The field of a picture, differentiated by autograd."""

import torch

from torch_ref.inr._even_field import even_field


def targets_at(
    image: torch.Tensor, points: torch.Tensor, *, method: str = "spectral", channels: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Differentiate each channel of the field by the points, then each derivative again."""
    image = image if image.ndim == 3 else image[..., None]
    assert channels in (None, image.shape[-1])
    flat = points.reshape(-1, 2).detach().requires_grad_()
    values = even_field(image, method)(flat)
    gradients, laplacians = [], []
    for c in range(values.shape[-1]):
        (slope,) = torch.autograd.grad(values[:, c].sum(), flat, create_graph=True)
        bends = [torch.autograd.grad(slope[:, j].sum(), flat, retain_graph=True)[0][:, j] for j in (0, 1)]
        gradients.append(slope)
        laplacians.append(bends[0] + bends[1])
    shape = points.shape[:-1]
    return (
        points,
        values.detach().reshape(*shape, -1),
        torch.stack(gradients, dim=1).detach().reshape(*shape, -1, 2),
        torch.stack(laplacians, dim=1).reshape(*shape, -1),
    )
