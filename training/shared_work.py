"""What the processes of a run compute together: the gradient of a batch, and logits of a split."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from serving.language.encoder import TokenBatcher
from training.batches import Tokens
from training.model import cross_entropy, logits_of, trainable
from training.processes import Processes


def batch_gradients(
    model: nn.Module,
    batcher: TokenBatcher,
    texts: Tokens,
    rows: Sequence[int],
    smoothing: float,
    processes: Processes,
) -> Tensor:
    """Mean loss of a batch; leaves its gradient in the model, the same in every process.

    Args:
        model: in training mode, without gradients from before.
        batcher: pads.
        texts: the split.
        rows: the batch, as all processes see it.
        smoothing: of the labels.
        processes: who shares the work.
    """
    mine = processes.share(rows)
    loss = torch.zeros(())
    if mine:
        tokens, mask = batcher.pad([texts.ids[row] for row in mine])
        weights = None if texts.weights is None else texts.weights[mine]
        own = cross_entropy(model(tokens, mask), texts.targets[mine], smoothing, weights)
        own = own * (len(mine) / len(rows))
        own.backward()
        loss = own.detach()
    if processes.count > 1:
        gradients = []
        for tensor in trainable(model).values():
            tensor.grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            gradients.append(tensor.grad)
        processes.add_up([loss, *gradients])
    return loss


def shared_logits(
    model: nn.Module, batcher: TokenBatcher, ids: Sequence[Sequence[int]], processes: Processes
) -> Tensor:
    """Logits of tokenised texts, shape (texts, labels); each process computes its share, all get all."""
    mine = processes.share(range(len(ids)))
    found = torch.from_numpy(logits_of(model, batcher, [ids[row] for row in mine])) if mine else None
    if processes.count == 1 and found is not None:
        return found
    width = max(processes.gather(0 if found is None else found.shape[1]))
    logits = torch.zeros(len(ids), width)
    if found is not None:
        logits[mine] = found
    processes.add_up([logits])
    return logits
