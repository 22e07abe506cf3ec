"""Labels are dealt as they should be, and a relation is told from pairs where truth is known."""

from dataclasses import replace

import torch

from lib.measures import relation_facts
from lib.measures.relation_facts import Facts
from lib.measures.relation_places import Triplets


def facts_of(above: torch.Tensor, label: list[int], cluster: list[int]) -> Facts:
    """Facts read forward with ten events each; above [head, fact]."""
    n = len(label)
    labels, clusters = torch.tensor(label), torch.tensor(cluster)
    half = torch.unique(clusters, return_inverse=True)[1] % 2
    backward = torch.zeros(n, dtype=torch.bool)
    below = torch.full_like(above, 10.0)
    return Facts(10 * above[None], below[None], labels, backward, torch.arange(n), clusters, half)


def dealt(facts: Facts, rounds: int = 200) -> torch.Tensor:
    labels = relation_facts.deal(facts, torch.Generator().manual_seed(0), rounds)
    return torch.cat([facts.label[None], labels])


def test_labels_stay_in_their_cluster_and_with_their_pair():
    label, cluster = [0, 0, 1, 1, 0, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1]
    facts = facts_of(torch.rand(2, 8), label, cluster)
    rows = dealt(facts)
    assert (rows[:, :4].sort(1).values == torch.tensor([0, 0, 1, 1])).all()
    assert (rows[:, 4:].sort(1).values == torch.tensor([0, 2, 2, 2])).all()
    assert (rows[1:] != rows[0]).any(1).float().mean() > 0.7
    both = replace(facts, pair=torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), cluster=0 * facts.cluster)
    both = replace(both, label=torch.tensor([0, 0, 1, 1] * 2))
    rows = dealt(both)
    assert (rows[:, :4] == rows[:, 4:]).all()  # a fact and its reverse


def test_a_head_of_one_label_is_beyond_dealings_and_a_head_of_pairs_is_not():
    label, cluster = [0, 0, 1, 1] * 8, [i // 4 for i in range(32)]
    holds = (torch.tensor(label) == 0).float()
    knows, pairs = torch.stack([holds, 1 - holds]), torch.ones(2, 32)
    for above, expected in ((knows, True), (pairs, False)):
        facts = facts_of(0.5 * above, label, cluster)
        value = relation_facts.standing(facts, dealt(facts))
        p = relation_facts.beyond_dealings(value[0], value[1:])
        assert bool((p < 0.05).all()) == expected


def test_a_head_of_all_pairs_does_not_hide_those_of_one_label():
    label, cluster = [0, 0, 1, 1] * 8, [i // 4 for i in range(32)]
    holds = (torch.tensor(label) == 0).float()
    facts = facts_of(torch.stack([3 + 0 * holds, holds, 1 - holds]), label, cluster)
    value = relation_facts.standing(facts, dealt(facts))
    assert (relation_facts.beyond_dealings(value[0], value[1:]) < 0.05).all()


def test_false_alarms_hold_their_level():
    """Heads that raise facts at random: any labelling is as good as the true one."""
    alarms, label, cluster = 0, [0, 0, 1, 1] * 6, [i // 4 for i in range(24)]
    for seed in range(60):
        above = torch.rand(5, 24, generator=torch.Generator().manual_seed(seed))
        facts = facts_of(above, label, cluster)
        found = relation_facts.standing(facts, dealt(facts, 99)).mean(1)
        alarms += bool(relation_facts.beyond_dealings(found[:1], found[1:, None]) < 0.05)
    assert alarms <= 7


def test_too_few_events_mask_value_and_draws():
    facts = facts_of(torch.rand(3, 8), [0] * 6 + [1] * 2, list(range(8)))
    found = relation_facts.margins(facts, facts.label[None], 30, torch.Generator(), 20)
    assert found.value[0].isfinite().tolist() == [True, False]
    assert found.draws[:, 0, 1].isnan().all() and found.draws[:, 0, 0].isfinite().any()


def test_overlaps_by_hand():
    a = torch.tensor([[[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]]]).bool()
    table = relation_facts.overlaps(a, a)[0]
    assert table.tolist() == [[1.0, 0.2], [0.2, 1.0]] or abs(table[0, 1] - 0.2) < 1e-6
    assert abs(float(relation_facts.shared(a)[0]) - 0.2) < 1e-6
    ways = relation_facts.pairings(2)
    assert ways.tolist() == [[0, 1], [1, 0]]
    assert torch.allclose(relation_facts.both_ways(table[None], ways), torch.tensor([[1.0, 0.2]]))


def test_relabelled_triplets_keep_their_places_and_know_their_partners():
    """One head word, two tails: each is the other's partner, by the other's label."""
    zero = torch.zeros(2, dtype=torch.long)
    places = zero, zero, torch.tensor([1, 2]), torch.tensor([[2], [1]]), torch.full((2, 1), -1)
    relation = torch.tensor([0, 1])
    made = Triplets(("a", "b", "c"), relation, *places, torch.tensor([[1], [0]]), relation, zero)
    again = relation_facts.relabelled(made, torch.tensor([[5, 6, 7]]), torch.tensor([2, 0]))
    assert again.relation.tolist() == [2, 0] and again.joined.tolist() == [[0], [2]]
    assert again.target.tolist() == [1, 2]
