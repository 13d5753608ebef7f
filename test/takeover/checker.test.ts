/** Histories written by hand: the checker finds what is wrong in each bad one, and nothing in the good ones. */
import { expect, test } from 'vitest'
import { check, type Rule } from './checker.js'
import type { Found, HistoryEvent } from './history.js'

/** One event after the other, ten microseconds apart. */
class Story {
  readonly events: HistoryEvent[] = []
  #at = 0
  #numbers = 0
  keptBytes = 1e6

  get now(): number {
    return this.#at
  }

  add(event: object, by = 'reader'): this {
    this.#at += 10
    this.events.push({ at: this.#at, by, ...event } as HistoryEvent)
    return this
  }

  /** So many microseconds pass. */
  later(us: number): this {
    this.#at += us
    return this
  }

  owned(by: string, epoch: number, asked = this.#at + 1): this {
    return this.add({ type: 'owned', epoch, asked }, by)
  }

  /** Calls an append, and returns its number. */
  call(by: string, epoch: number, bytes = 100): number {
    const number = ++this.#numbers
    this.add({ type: 'invoked', epoch, number, bytes, hash: `h${number}` }, by)
    return number
  }

  acknowledge(by: string, number: number, sequence: number, durability = 'durable'): this {
    return this.add({ type: 'acknowledged', number, sequence, durability }, by)
  }

  /** An append from its call to its answer. */
  append(by: string, epoch: number, sequence: number, durability = 'durable'): this {
    return this.acknowledge(by, this.call(by, epoch), sequence, durability)
  }

  fail(by: string, number: number, outcome: string): this {
    return this.add({ type: 'failed', number, code: 'FENCED', outcome }, by)
  }

  read(...records: Found[]): this {
    const began = this.#at + 1
    return this.add({ type: 'read', began, records })
  }

  latest(found: Found | null): this {
    const began = this.#at + 1
    return this.add({ type: 'latest', began, found })
  }

  snapshot(hash: string): this {
    const began = this.#at + 1
    return this.add({ type: 'snapshot', began, hash })
  }

  restored(by: string, epoch: number, found: Found | null): this {
    return this.add({ type: 'restored', epoch, found }, by)
  }

  follow(found: Found, every = true): this {
    return this.add({ type: 'followed', iteration: 'f', every, ...found })
  }

  /** The rules that it breaks. */
  get broken(): Rule[] {
    return [...new Set(check(this).map(({ rule }) => rule))]
  }
}

const record = (epoch: number, sequence: number, number = sequence): Found => ({ epoch, sequence, hash: `h${number}` })

/** Two appends of a, then b has the region. */
function takenOver(): Story {
  return new Story().owned('a', 1).restored('a', 1, null).append('a', 1, 1).append('a', 1, 2).owned('b', 2)
}

test('a takeover in which everything is in its place', () => {
  const story = takenOver()
  story.snapshot('x').restored('b', 2, record(1, 2)).snapshot('x').read(record(1, 1), record(1, 2)).append('b', 2, 3)
  story.snapshot('y').follow(record(1, 1)).follow(record(1, 2)).follow(record(2, 3)).latest(record(2, 3))
  expect(story.read(record(1, 1), record(1, 2), record(2, 3)).broken).toEqual([])
})

test.each([
  ['landed', [record(1, 1), record(1, 2), record(1, 3)], record(1, 3)],
  ['did not land', [record(1, 1), record(1, 2)], record(1, 2)],
])('an append without an answer that %s', (_, records, newest) => {
  const story = new Story().owned('a', 1).append('a', 1, 1).append('a', 1, 2)
  story.call('a', 1)
  story
    .owned('b', 2)
    .restored('b', 2, newest)
    .read(...records)
  expect(story.read(...records).broken).toEqual([])
})

test('an acknowledgement that reaches a stopped writer after the takeover, of what had landed before', () => {
  const story = new Story().owned('a', 1)
  const number = story.call('a', 1)
  story.owned('b', 2).restored('b', 2, record(1, 1)).read(record(1, 1)).append('b', 2, 2)
  expect(story.acknowledge('a', number, 1).broken).toEqual([])
})

test.each([
  [true, []],
  [false, ['lost']],
])('what a crash took and a follower is given later, if it may have read it before: %s', (before, rules) => {
  const story = new Story().owned('a', 1).append('a', 1, 1)
  if (before) story.follow(record(1, 1)).append('a', 1, 2, 'visible')
  else story.append('a', 1, 2, 'visible')
  story.add({ type: 'unit-killed' })
  if (!before) story.later(6_000_000).follow(record(1, 1))
  story.owned('b', 2).restored('b', 2, record(1, 1)).later(6_000_000).follow(record(1, 2))
  expect(story.broken).toEqual(rules)
})

test.each([
  [true, []],
  [false, ['content']],
])('an append that was seen and failed with nothing changed, the unit having died in between: %s', (died, rules) => {
  const story = new Story().owned('a', 1).append('a', 1, 1).follow(record(1, 1))
  const number = story.call('a', 1)
  story.follow(record(1, 2))
  if (died) story.add({ type: 'unit-killed' })
  expect(story.fail('a', number, 'none').broken).toEqual(rules)
})

test('an append of a fenced writer that begins later, fails, and is nowhere', () => {
  const story = takenOver().restored('b', 2, record(1, 2))
  story.fail('a', story.call('a', 1), 'none')
  expect(story.read(record(1, 1), record(1, 2)).broken).toEqual([])
})

/** One append done, one under way; then a hands over. */
function handingOver(): { story: Story; late: number } {
  const story = new Story().owned('a', 1).append('a', 1, 1)
  const late = story.call('a', 1)
  return { story: story.add({ type: 'hand-over', epoch: 1 }, 'a'), late }
}
const handedOver = { type: 'handed-over', epoch: 1, code: null }

test('a hand-over that waits for what was called before it, and refuses what comes later', () => {
  const { story, late } = handingOver()
  story.fail('a', story.call('a', 1), 'none')
  story.acknowledge('a', late, 2).add(handedOver, 'a').owned('b', 2).restored('b', 2, record(1, 2))
  story.fail('a', story.call('a', 1), 'none')
  expect(story.append('b', 2, 3).broken).toEqual([])
})

test('an append that failed in a hand-over during which the region was taken', () => {
  const { story, late } = handingOver()
  story.owned('b', 2).fail('a', late, 'none')
  expect(story.add({ ...handedOver, code: 'FENCED' }, 'a').broken).toEqual([])
})

const badHandOvers: [string, (story: Story, late: number) => unknown][] = [
  ['what was called before fails', (story, late) => story.fail('a', late, 'none').add(handedOver, 'a')],
  ['what was called before has no answer', (story) => story.add(handedOver, 'a')],
  ['what was called before is answered later', (story, late) => story.add(handedOver, 'a').acknowledge('a', late, 2)],
  [
    'what is called later is done',
    (story, late) => story.acknowledge('a', late, 2).add(handedOver, 'a').append('a', 1, 3),
  ],
  [
    'what is called later is in the log',
    (story, late) => {
      story.acknowledge('a', late, 2).add(handedOver, 'a')
      const later = story.call('a', 1)
      story.read(record(1, 1), record(1, 2), record(1, 3, later))
    },
  ],
]

test.each(badHandOvers)('a hand-over in which %s', (_, tell) => {
  const { story, late } = handingOver()
  tell(story, late)
  expect(story.broken).toContain('hand-over')
})

test('what the ring dropped by right, and a lap that follow reported', () => {
  const story = new Story().owned('a', 1)
  story.keptBytes = 500
  for (let sequence = 1; sequence <= 4; sequence++) story.append('a', 1, sequence).follow(record(1, sequence))
  for (let sequence = 5; sequence <= 9; sequence++) story.append('a', 1, sequence)
  story.add({ type: 'lapped', iteration: 'f' }).follow(record(1, 8))
  expect(story.read(record(1, 8), record(1, 9)).broken).toEqual([])
})

test('a visible record that follow had given, and that a crash of the unit took', () => {
  const story = new Story().owned('a', 1).append('a', 1, 1)
  story.call('a', 1)
  story
    .follow(record(1, 1))
    .follow(record(1, 2))
    .add({ type: 'unit-killed' })
    .owned('b', 2)
    .restored('b', 2, record(1, 1))
  story
    .read(record(1, 1))
    .append('b', 2, 2)
    .follow(record(2, 2, 3))
  expect(story.read(record(1, 1), record(2, 2, 3)).broken).toEqual([])
})

test('what was under way when the unit died is written again under a higher number, and never is in the log twice', () => {
  const begun = () => {
    const story = new Story().owned('a', 1).append('a', 1, 1)
    return { story, number: story.call('a', 1) }
  }
  const again = begun()
  again.story
    .latest(record(1, 2, again.number))
    .follow(record(1, 2, again.number))
    .add({ type: 'unit-killed' })
  again.story.acknowledge('a', again.number, 3).follow(record(1, 3, again.number), false)
  expect(again.story.read(record(1, 1), record(1, 3, again.number)).broken).toEqual([])
  again.story.read(record(1, 1), record(1, 2, again.number), record(1, 3, again.number))
  expect(again.story.broken).toContain('content')

  const alive = begun()
  alive.story.latest(record(1, 2, alive.number)).acknowledge('a', alive.number, 3)
  expect(alive.story.latest(record(1, 3, alive.number)).broken).toEqual(['content'])
})

test('what was acknowledged as visible, and that a crash of the unit took', () => {
  const story = new Story().owned('a', 1).append('a', 1, 1).append('a', 1, 2, 'visible').follow(record(1, 2))
  story.add({ type: 'unit-killed' }).append('a', 1, 3).owned('b', 2).restored('b', 2, record(1, 3))
  expect(story.read(record(1, 1), record(1, 3)).broken).toEqual([])
})

test('a hole in what a crash of the unit brought back of what the ring had dropped', () => {
  const story = new Story().owned('a', 1)
  story.keptBytes = 500
  for (let sequence = 1; sequence <= 6; sequence++) story.append('a', 1, sequence)
  story.add({ type: 'unit-killed' })
  const [one, ...newer] = [1, 2, 3, 4, 5, 6].map((sequence) => record(1, sequence))
  expect(story.read(one!, ...newer.slice(1)).broken).toEqual([])
  // Not where nobody can have come round.
  expect(story.read(one!, ...newer.slice(0, 3), ...newer.slice(4)).broken).toContain('lost')
})

test('a lap that is reported after a crash of the unit, and all that is kept from the oldest on', () => {
  const story = new Story().owned('a', 1).append('a', 1, 1).append('a', 1, 2).follow(record(1, 1)).follow(record(1, 2))
  story.add({ type: 'unit-killed' }).add({ type: 'lapped', iteration: 'f' })
  expect(story.follow(record(1, 1)).follow(record(1, 2)).broken).toEqual([])
})

test('a look at the newest that spans the crash which took it', () => {
  const story = new Story().owned('a', 1).append('a', 1, 1).append('a', 1, 2, 'visible').latest(record(1, 2))
  const began = story.now + 1
  story.add({ type: 'unit-killed' }).add({ type: 'latest', began, found: record(1, 1) })
  expect(story.broken).toEqual([])
})

test('a standby that goes back to what a crash of the unit left', () => {
  const story = new Story().owned('a', 1).append('a', 1, 1).append('a', 1, 2, 'visible')
  story.follow(record(1, 2), false).add({ type: 'unit-killed' }).follow(record(1, 1), false)
  expect(story.owned('b', 2).restored('b', 2, record(1, 1)).broken).toEqual([])
})

const bad: [string, Rule, (story: Story) => unknown][] = [
  ['two owners of one epoch', 'ownership', (story) => story.owned('c', 2)],
  ['an epoch that does not rise', 'ownership', (story) => story.owned('c', 1, story.now)],
  ['an append under an epoch of another', 'ownership', (story) => story.append('c', 2, 3)],
  ['one sequence given twice', 'order', (story) => story.append('b', 2, 3).append('b', 2, 3)],
  ['sequences of one owner that fall', 'order', (story) => story.append('b', 2, 4).append('b', 2, 3)],
  ['a new owner that goes on below', 'order', (story) => story.append('b', 2, 2)],
  [
    'an append of the fenced writer that begins after the answer, and is acknowledged',
    'fence',
    (story) => story.append('a', 1, 3),
  ],
  [
    'one that begins after the answer, is never answered, and is in the log',
    'fence',
    (story) => story.read(record(1, 1), record(1, 2), record(1, 3, story.call('a', 1))),
  ],
  ['a byte that changes between answer and first append', 'fence', (story) => story.snapshot('x').snapshot('y')],
  [
    'a record of the fenced writer that comes after a reading',
    'fence',
    (story) => story.read(record(1, 1), record(1, 2)).read(record(1, 1), record(1, 2), record(1, 3)),
  ],
  [
    'one that only follow saw, and later',
    'fence',
    (story) => story.read(record(1, 1), record(1, 2)).follow(record(1, 3)),
  ],
  ['an acknowledged checkpoint that is gone', 'lost', (story) => story.read(record(1, 2))],
  ['one in the middle', 'lost', (story) => story.append('b', 2, 3).read(record(1, 1), record(2, 3))],
  ['the newest', 'lost', (story) => story.read(record(1, 1))],
  ['all', 'lost', (story) => story.read()],
  ['a latest that is older than what was acknowledged', 'lost', (story) => story.latest(record(1, 1))],
  ['no latest', 'lost', (story) => story.latest(null)],
  [
    'one that is acknowledged late, and was not there at the takeover',
    'lost',
    (story) => {
      const late = story.call('b', 2)
      story.owned('c', 3).read(record(1, 1), record(1, 2)).acknowledge('b', late, 3)
    },
  ],
  [
    'what was visible before a durable append that a crash left',
    'lost',
    (story) => {
      story.append('b', 2, 3, 'visible').append('b', 2, 4).add({ type: 'unit-killed' })
      story.read(record(1, 1), record(1, 2), record(2, 4))
    },
  ],
  [
    'what was visible before a takeover, after a crash that came later',
    'lost',
    (story) => {
      story.append('b', 2, 3, 'visible').owned('c', 3).add({ type: 'unit-killed' })
      story.read(record(1, 1), record(1, 2))
    },
  ],
  ['an owner that begins without the newest', 'lost', (story) => story.restored('b', 2, record(1, 1))],
  ['an owner that begins with nothing', 'lost', (story) => story.restored('b', 2, null)],
  [
    'an owner that begins without what somebody had read',
    'lost',
    (story) => {
      const unanswered = story.call('b', 2)
      story
        .follow(record(2, 3, unanswered))
        .owned('c', 3)
        .restored('c', 3, record(1, 2))
    },
  ],
  [
    'what was there after its epoch had ended, and is gone later',
    'lost',
    (story) => {
      const unanswered = story.call('b', 2)
      story
        .owned('c', 3)
        .read(record(1, 1), record(1, 2), record(2, 3, unanswered))
        .read(record(1, 1), record(1, 2))
    },
  ],
  [
    'readings that go back',
    'order',
    (story) => {
      const unanswered = story.call('b', 2)
      story.read(record(1, 1), record(1, 2), record(2, 3, unanswered)).read(record(1, 1), record(1, 2))
    },
  ],
  [
    'a latest that goes back',
    'order',
    (story) => {
      const unanswered = story.call('b', 2)
      story.latest(record(2, 3, unanswered)).latest(record(1, 2))
    },
  ],
  ['a reading out of order', 'order', (story) => story.read(record(1, 2), record(1, 1))],
  ['bytes that nobody appended', 'content', (story) => story.read(record(1, 1), record(1, 2, 77))],
  ['a mixed record that only follow saw', 'content', (story) => story.follow(record(1, 2, 77))],
  ['bytes under the epoch of another', 'content', (story) => story.read(record(1, 1), record(2, 2))],
  ['bytes under another sequence', 'content', (story) => story.read(record(1, 1), record(1, 3, 2))],
  [
    'one append at two places',
    'content',
    (story) => {
      const unanswered = story.call('b', 2)
      story.follow(record(2, 3, unanswered)).follow(record(2, 4, unanswered))
    },
  ],
  [
    'an append that had changed nothing, and is there',
    'content',
    (story) => {
      const number = story.call('b', 2)
      story.fail('b', number, 'none').read(record(1, 1), record(1, 2), record(2, 3, number))
    },
  ],
  ['a checkpoint that follow gives twice', 'follow', (story) => story.follow(record(1, 2)).follow(record(1, 2))],
  ['one that it gives out of order', 'follow', (story) => story.follow(record(1, 2)).follow(record(1, 1))],
  ['one that it leaves out', 'follow', (story) => story.append('b', 2, 3).follow(record(1, 1)).follow(record(2, 3))],
  [
    'a durable one that a standby goes back from, over a crash',
    'follow',
    (story) => story.follow(record(1, 2), false).add({ type: 'unit-killed' }).follow(record(1, 1), false),
  ],
  [
    'one that it gives again after a lap, with no crash',
    'follow',
    (story) => story.follow(record(1, 2)).add({ type: 'lapped', iteration: 'f' }).follow(record(1, 1)),
  ],
  [
    'an epoch that it goes back from',
    'follow',
    (story) => story.append('b', 2, 3).follow(record(2, 3)).follow(record(1, 2), false),
  ],
]

test.each(bad)('%s: %s', (_, rule, tell) => {
  const story = takenOver()
  expect(story.broken).toEqual([])
  tell(story)
  expect(story.broken).toContain(rule)
})

test('the ring may not drop what it has room for', () => {
  const story = takenOver().append('b', 2, 3).append('b', 2, 4).read(record(2, 4))
  expect(story.broken).toEqual(['lost'])
})
