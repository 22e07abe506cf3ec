"""The three equations of Ren et al. (2024), section 3.1, transcribed word by word: slow, without a
shortcut.

For every triplet, head and position: the softmax over the whole vocabulary, the set of visible
tokens, one loop each.
"""

import math

import torch


def attention_of_embeddings(tokens, W_E, W_Q, W_K):
    """[batch, head, query, key]: softmax of x_j W_QK x_k over k <= j."""
    batch, length = tokens.shape
    pattern = torch.zeros(batch, len(W_Q), length, length, dtype=W_E.dtype)
    for b in range(batch):
        x = W_E[tokens[b]]
        for h in range(len(W_Q)):
            W_QK = W_Q[h] @ W_K[h].T
            for j in range(length):
                pattern[b, h, j, : j + 1] = torch.softmax(
                    x[j] @ W_QK @ x[: j + 1].T / math.sqrt(W_Q.shape[-1]), 0
                )
    return pattern


def passes_gate(A_j, j, s, choices):
    """Equation 1 at position j: s is where the head looks most, and by the ratio tau."""
    keys = range(j + 1)
    if (
        (s == 0 and "first" in choices.exclude)
        or (j == s and "self" in choices.exclude)
        or (j == s + 1 and "previous" in choices.exclude)
    ):
        return False
    best = max(keys, key=lambda k: (A_j[k].item(), -k))
    rest = max((A_j[k].item() for k in keys if k != s), default=0.0)
    ratio = A_j[s].item() / rest if rest > 0 else math.inf
    return best == s and (choices.tau is None or ratio > choices.tau)


def share(x, W_OV, W_U, tokens, j, wanted):
    """Equation 2: what share of the raised tokens' rise falls to the token `wanted`."""
    p = torch.softmax(x @ W_OV @ W_U, 0)
    visible = sorted(set(tokens[: j + 1].tolist()))
    mean = sum(p[t] for t in visible) / len(visible)
    q = {t: max(0.0, (p[t] - mean).item()) for t in visible}
    total = sum(q.values())
    return q[wanted] / total if total > 0 else 0.0


def tally(pattern, inputs, W_V, W_O, W_E, W_U, tokens, lengths, triplets, choices):
    """Sums per [head, triplet] of the tail's share, the events, the controls. `inputs` [batch,
    position, d_model]: what heads read (context)."""
    heads, k = pattern.shape[1], triplets.other_tails.shape[1]
    result = {
        name: torch.zeros(heads, len(triplets), dtype=torch.float64)
        for name in (
            "events",
            "tail",
            "fake",
            "fake_events",
            "tail_beside_fake",
            "anywhere",
            "random",
        )
    }
    result |= {
        name: torch.zeros(heads, len(triplets), k, dtype=torch.float64)
        for name in ("other_tails", "other_sources")
    }
    for h in range(heads):
        W_OV = W_V[h] @ W_O[h]
        for n in range(len(triplets)):
            b, s, o = (int(getattr(triplets, name)[n]) for name in ("document", "source", "target"))
            for j in range(max(s, o), int(lengths[b])):
                if not passes_gate(pattern[b, h, j], j, s, choices):
                    continue

                def read(position, b=b, j=j):
                    if choices.ov_input == "context":
                        return inputs[b, position]
                    return W_E[tokens[b, j if choices.ov_input == "current" else position]]

                def a(position, wanted, b=b, j=j, W_OV=W_OV):
                    return share(read(position), W_OV, W_U, tokens[b], j, int(tokens[b, wanted]))

                elsewhere = [k for k in range(j + 1) if tokens[b, k] != tokens[b, o]]
                every = sum(a(s, k) for k in elsewhere) / max(1, len(elsewhere))
                result["anywhere"][h, n] += every
                others = set(tokens[b, : j + 1].tolist()) - {int(tokens[b, o])}
                places = [tokens[b].tolist().index(t) for t in others]
                result["events"][h, n] += 1
                result["tail"][h, n] += a(s, o)
                result["random"][h, n] += sum(a(s, place) for place in places) / max(1, len(places))
                if j >= choices.fake_position and tokens[b, choices.fake_position] != tokens[b, o]:
                    result["fake"][h, n] += a(s, choices.fake_position)
                    result["tail_beside_fake"][h, n] += a(s, o)
                    result["fake_events"][h, n] += 1
                for c in range(k):
                    if triplets.other_tails[n, c] >= 0:
                        result["other_tails"][h, n, c] += a(s, int(triplets.other_tails[n, c]))
                    if triplets.other_sources[n, c] >= 0:
                        result["other_sources"][h, n, c] += a(int(triplets.other_sources[n, c]), o)
    return result


def copying(pattern, inputs, W_V, W_O, W_E, W_U, tokens, lengths, choices):
    """The copying score's sum and number of events per [head, document]: the attended token as the
    tail."""
    copied = torch.zeros(pattern.shape[1], len(tokens), 2, dtype=torch.float64)
    for b in range(len(tokens)):
        for h in range(pattern.shape[1]):
            for j in range(int(lengths[b])):
                for s in range(j + 1):
                    if passes_gate(pattern[b, h, j], j, s, choices):
                        position = j if choices.ov_input == "current" else s
                        x = (
                            inputs[b, position]
                            if choices.ov_input == "context"
                            else W_E[tokens[b, position]]
                        )
                        copied[h, b, 0] += share(
                            x, W_V[h] @ W_O[h], W_U, tokens[b], j, int(tokens[b, s])
                        )
                        copied[h, b, 1] += 1
    return copied
