"""A compiled step beside an eager one, in a process of its own: the tests' shape checks cannot be compiled."""

import torch

from hdge import LogitQueue, hybrid_loss


def step(logits: torch.Tensor, labels: torch.Tensor, queue: LogitQueue) -> torch.Tensor:
    loss = hybrid_loss(logits, labels, queue, alpha=0.5)
    queue.enqueue(logits.detach())
    return loss


def main() -> None:
    graphs = []

    def count(module, inputs):
        graphs.append(module)
        return module

    compiled = torch.compile(step, backend=count, fullgraph=True)
    eager_queue, queue = LogitQueue(4, 40), LogitQueue(4, 40)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):  # the ring is empty, half full, full, and wraps three times
        logits, labels = torch.randn(11, 4, generator=generator), torch.randint(4, (11,), generator=generator)
        torch.testing.assert_close(compiled(logits, labels, queue), step(logits, labels, eager_queue))
    assert queue.filled().equal(eager_queue.filled())
    print(f"{len(graphs)} graph")


if __name__ == "__main__":
    main()
