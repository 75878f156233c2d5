"""Which job a free worker gets."""

from lipsync.batch.job import Job
from lipsync.batch.schedule import Schedule


def schedule(targets):
    jobs = [Job(target, f"{i}.wav", f"{i}.mp4") for i, target in enumerate(targets)]
    return Schedule(jobs, range(len(jobs)))


def test_one_worker_analyses_a_target_for_all():
    s = schedule("aaaa")
    assert s.next_for(0) == 0 and s.next_for(1) is None
    s.finished(0, True)
    assert [s.next_for(1), s.next_for(0)] == [1, 2]


def test_workers_begin_with_different_targets_and_stay_with_their_own():
    s = schedule("ababab")
    assert [s.next_for(0), s.next_for(1)] == [0, 1]
    s.finished(1, True)
    s.finished(0, True)
    assert [s.next_for(1), s.next_for(0)] == [3, 2]


def test_a_failed_first_job_leaves_the_target_to_one_worker():
    s = schedule("aaa")
    s.next_for(0)
    s.finished(0, False)
    assert s.next_for(1) == 1 and s.next_for(0) is None


def test_a_free_worker_helps_where_most_is_left():
    s = schedule("abbcccc")
    first = {w: s.next_for(w) for w in range(3)}
    assert first == {0: 0, 1: 1, 2: 3}
    for n in (0, 1, 3):
        s.finished(n, True)
    busy = [s.next_for(1), s.next_for(2)]
    assert busy == [2, 4] and s.next_for(0) == 5


def test_a_lost_job_is_done_again_and_every_job_ends_once():
    s, done, lost = schedule("aabbbc"), [], False
    while len(s):
        for worker in (0, 1):
            n = s.next_for(worker)
            if n is None:
                continue
            if n == 3 and not lost:
                lost = True
                s.again(n)
            else:
                done.append(n)
                s.finished(n, n != 2)
    assert sorted(done) == list(range(6)) and lost and s.left() == []
