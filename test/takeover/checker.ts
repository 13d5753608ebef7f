/**
 * Says what of a history cannot have been, in the manner of a test of linearizability: an operation takes effect at one moment
 * between its call and its answer; one without an answer may have taken effect or not. A pure function of the history.
 */
import { type Append, Facts, type Sighting } from './facts.js'
import type { Followed, Found, History, Read } from './history.js'

export type Rule =
  /** Two owners of one epoch, an append under an epoch that was not its writer's, or epochs that do not rise. */
  | 'ownership'
  /** Something of a writer landed after a takeover above it had answered. */
  | 'fence'
  /** A hand-over left an append without success that was called before it, or took one that was called later. */
  | 'hand-over'
  /** A checkpoint that was acknowledged, or that somebody had read, is not there. */
  | 'lost'
  /** Acknowledged, read or restored against the order of real time. */
  | 'order'
  /** Bytes that nobody appended, or that somebody else appended, or whose writer was told that nothing was changed. */
  | 'content'
  /** Follow gave a checkpoint twice, out of order, or left one out. */
  | 'follow'

export interface Violation {
  rule: Rule
  text: string
}

export function check(history: History): Violation[] {
  const facts = new Facts(history)
  return [
    ...ownership(facts),
    ...appendsInOrder(facts),
    ...contents(facts),
    ...fencedBeganLater(facts),
    ...fencedBytes(facts),
    ...handedOver(facts),
    ...readsInOrder(facts),
    ...kept(facts),
    ...frozen(facts),
    ...restored(facts),
    ...followed(facts),
  ]
}

function compareAge(one: Found, other: Found): number {
  return one.epoch - other.epoch || one.sequence - other.sequence
}

function told({ epoch, sequence }: Pick<Found, 'epoch' | 'sequence'>): string {
  return `checkpoint ${sequence} of epoch ${epoch}`
}

function* ownership({ owners, appends }: Facts): Generator<Violation> {
  for (const [epoch, all] of owners) {
    if (all.length > 1) yield { rule: 'ownership', text: `epoch ${epoch} has owners ${all.map(({ by }) => by).join()}` }
  }
  const sorted = [...owners.values()].flat().sort((a, b) => a.at - b.at)
  let highest = 0
  let answered = 0
  for (const owned of sorted.filter(({ asked }) => asked !== undefined).sort((a, b) => a.asked! - b.asked!)) {
    for (let before = sorted[answered]; before !== undefined && before.at < owned.asked!; before = sorted[++answered]) {
      highest = Math.max(highest, before.epoch)
    }
    if (owned.epoch <= highest) {
      yield { rule: 'ownership', text: `${owned.by} asked after epoch ${highest} was answered, and got ${owned.epoch}` }
    }
  }
  for (const { by, epoch, number } of appends) {
    if (owners.get(epoch)?.some((owned) => owned.by === by)) continue
    yield { rule: 'ownership', text: `append ${number} of ${by} is under epoch ${epoch}, which it does not have` }
  }
}

function* appendsInOrder({ appends, acknowledged }: Facts): Generator<Violation> {
  const bySequence = new Map<number, Append>()
  for (const append of acknowledged) {
    const other = bySequence.get(append.found.sequence)
    if (other) {
      yield { rule: 'order', text: `append ${name(append)} and ${name(other)} both have ${append.found.sequence}` }
    }
    bySequence.set(append.found.sequence, append)
  }
  // Of one owner in the order of its calls; whoever began after an acknowledgement comes behind it.
  const last = new Map<string, Append>()
  const answers = [...acknowledged].sort((a, b) => a.acknowledgedAt - b.acknowledgedAt)
  let newest: Append | undefined
  let answered = 0
  for (const append of appends) {
    for (let before = answers[answered]; before && before.acknowledgedAt < append.at; before = answers[++answered]) {
      if (newest?.found === undefined || before.found.sequence > newest.found.sequence) newest = before
    }
    if (append.found === undefined) continue
    const own = last.get(`${append.by} ${append.epoch}`)
    for (const before of [own, newest]) {
      if (before?.found === undefined || before.found.sequence < append.found.sequence) continue
      // That is a matter of the fence.
      if (before.epoch > append.epoch) continue
      yield { rule: 'order', text: `${name(append)} is ${told(append.found)}, behind ${told(before.found)}` }
    }
    last.set(`${append.by} ${append.epoch}`, append)
  }
  // Whoever comes later goes on above all there is.
  let top: Found | undefined
  for (const { found } of [...acknowledged].sort((a, b) => compareAge(a.found, b.found))) {
    if (top && found.epoch > top.epoch && found.sequence <= top.sequence) {
      yield { rule: 'order', text: `${told(found)} is not above ${told(top)}` }
    }
    top = found
  }
}

function name({ by, number }: Append): string {
  return `${by}/${number}`
}

function* contents({ sightings, byHash, killedWithin, diedBetween }: Facts): Generator<Violation> {
  const places = new Map<string, Sighting>()
  // What was under way when the unit died had been visible, and its writer writes it again under a higher number.
  const writtenAgain = (append: Append, before: Sighting, sequence: number, until: number) =>
    before.found.sequence < sequence && diedBetween(Math.max(append.at, before.began), until)
  for (const sighting of sightings) {
    const { found, where } = sighting
    const append = byHash.get(found.hash)
    if (append === undefined) {
      yield { rule: 'content', text: `${told(found)} holds bytes that nobody appended (${where})` }
      continue
    }
    if (append.epoch !== found.epoch) {
      yield { rule: 'content', text: `${told(found)} was appended under epoch ${append.epoch} (${where})` }
    }
    const { acknowledgedAt, found: as } = append
    if (
      acknowledgedAt !== undefined &&
      as?.sequence !== found.sequence &&
      !writtenAgain(append, sighting, as?.sequence ?? 0, acknowledgedAt)
    ) {
      yield {
        rule: 'content',
        text: `${name(append)} was acknowledged as ${as?.sequence}, and is ${told(found)}`,
      }
    }
    // What was visible for a while a crash may have taken before the call had an answer.
    if (append.outcome === 'none' && !killedWithin(append.at, append.failedAt ?? append.at)) {
      yield {
        rule: 'content',
        text: `${name(append)} failed and had changed nothing, and is ${told(found)} (${where})`,
      }
    }
    const place = places.get(found.hash)
    if (place && compareAge(place.found, found) !== 0) {
      const [one, other] = compareAge(place.found, found) < 0 ? [place, sighting] : [sighting, place]
      if (one.found.epoch !== other.found.epoch || !writtenAgain(append, one, other.found.sequence, other.at)) {
        yield { rule: 'content', text: `${name(append)} is ${told(place.found)} and ${told(found)}` }
      }
    }
    places.set(found.hash, sighting)
  }
}

/** An acknowledgement may come late; what it acknowledges was written before. But nothing begins after the answer. */
function* fencedBeganLater(facts: Facts): Generator<Violation> {
  const seen = new Set(facts.sightings.map(({ found }) => found.hash))
  for (const append of facts.appends) {
    const above = facts.highestOwnedBefore(append.at)
    if (above <= append.epoch) continue
    const text = `${name(append)} of epoch ${append.epoch} began after epoch ${above} was answered`
    if (append.acknowledgedAt !== undefined) yield { rule: 'fence', text: `${text}, and was acknowledged` }
    else if (seen.has(append.hash)) yield { rule: 'fence', text: `${text}, and is in the log` }
  }
}

/** From the answer of a takeover to the first append under its epoch or a higher one not a byte of the region changes. */
function* fencedBytes({ snapshots, owners, appends }: Facts): Generator<Violation> {
  for (const [epoch, [owned]] of owners) {
    if (owned === undefined) continue
    const end = appends.find((append) => append.epoch >= epoch)?.at ?? Number.POSITIVE_INFINITY
    const quiet = snapshots.filter(({ began, at }) => began > owned.at && at < end)
    if (new Set(quiet.map(({ hash }) => hash)).size > 1) {
      yield {
        rule: 'fence',
        text: `bytes of the region changed after epoch ${epoch} was answered, before its first append`,
      }
    }
  }
}

/** What its owner had called before is acknowledged before a hand-over is answered, and what it calls afterwards is refused. */
function* handedOver(facts: Facts): Generator<Violation> {
  const seen = new Set(facts.sightings.map(({ found }) => found.hash))
  for (const { by, epoch, began, at } of facts.handOvers) {
    for (const append of facts.appends) {
      if (append.by !== by || append.epoch !== epoch) continue
      const { acknowledgedAt, failedAt } = append
      if (append.at > at) {
        if (acknowledgedAt === undefined && !seen.has(append.hash)) continue
        yield { rule: 'hand-over', text: `${name(append)} began after epoch ${epoch} was handed over, and was done` }
      } else if (append.at < began) {
        if (acknowledgedAt !== undefined && acknowledgedAt < at) continue
        // Taken by somebody else meanwhile, or before the unit died.
        const settledAt = failedAt ?? acknowledgedAt ?? at
        if (facts.highestOwnedBefore(settledAt) > epoch && settledAt < at) continue
        if (failedAt !== undefined && (failedAt < began || facts.killedWithin(append.at, failedAt))) continue
        const how = failedAt === undefined ? 'had no answer when it was' : 'failed'
        yield {
          rule: 'hand-over',
          text: `${name(append)} was called before epoch ${epoch} was handed over, and ${how}`,
        }
      }
    }
  }
}

function* readsInOrder({ reads, looks, acknowledged, killedWithin }: Facts): Generator<Violation> {
  for (const { records } of reads) {
    for (const [index, found] of records.entries()) {
      const before = records[index - 1]
      if (before && (compareAge(before, found) >= 0 || before.sequence >= found.sequence)) {
        yield { rule: 'order', text: `a reading gave ${told(found)} behind ${told(before)}` }
      }
    }
  }
  const ended = [...looks].sort((a, b) => a.at - b.at)
  const answers = [...acknowledged].sort((a, b) => a.acknowledgedAt - b.acknowledgedAt)
  let [endedBefore, answeredBefore] = [0, 0]
  let seen: { found: Found; at: number } | undefined
  let kept: Found | undefined
  for (const { began, at, newest } of looks) {
    for (let look = ended[endedBefore]; look && look.at < began; look = ended[++endedBefore]) {
      const found = look.newest
      if (found && (!seen || compareAge(found, seen.found) > 0)) seen = { found, at: look.at }
    }
    for (let answer = answers[answeredBefore]; answer && answer.acknowledgedAt < began; ) {
      if (!kept || compareAge(answer.found, kept) > 0) kept = answer.found
      answer = answers[++answeredBefore]
    }
    if (seen && !killedWithin(seen.at, at) && !reaches(newest, seen.found)) {
      yield { rule: 'order', text: `${told(seen.found)} was the newest, and at ${began} an older one is` }
    }
    if (kept && !reaches(newest, kept)) {
      yield { rule: 'lost', text: `${told(kept)} was acknowledged, and at ${began} an older one is the newest` }
    }
  }
}

function reaches(newest: Found | undefined, found: Found): boolean {
  return newest !== undefined && compareAge(newest, found) >= 0
}

/** What was acknowledged before a reading began, or under an epoch that had ended by then, is in it or dropped by right. */
function* kept(facts: Facts): Generator<Violation> {
  const { acknowledged, reads } = facts
  for (const read of reads) {
    const there = new Map(read.records.map((found) => [found.hash, found]))
    const above = facts.highestOwnedBefore(read.began)
    const oldest = read.records[0]
    for (const append of acknowledged) {
      if (append.acknowledgedAt > read.began && append.epoch >= above) continue
      if (there.has(append.hash)) continue
      if (facts.mayBeTorn(append.found, read.at)) continue
      const dropped = oldest === undefined || compareAge(append.found, oldest) < 0
      if (dropped && facts.appendedSince(append, read.at) > facts.keptBytes) continue
      yield {
        rule: 'lost',
        text: `${told(append.found)} of ${name(append)} was acknowledged, and is gone at ${read.at}`,
      }
    }
  }
}

/** Once an epoch has ended, its records are what they are: readings that begin then agree on them. */
function* frozen(facts: Facts): Generator<Violation> {
  const { reads, sightings, killedWithin } = facts
  const held = new Map(reads.map((read) => [read, new Set(read.records.map(({ hash }) => hash))]))
  const missing = (read: Read, found: Found): boolean => {
    const oldest = read.records[0]
    return oldest !== undefined && compareAge(found, oldest) > 0 && held.get(read)?.has(found.hash) === false
  }
  for (const [index, read] of reads.entries()) {
    const before = reads[index - 1]
    if (before === undefined) continue
    const above = facts.highestOwnedBefore(before.began)
    for (const found of read.records) {
      if (found.epoch >= above || !missing(before, found)) continue
      yield {
        rule: 'fence',
        text: `${told(found)} was not there after epoch ${above} was answered, and is there later`,
      }
    }
    for (const found of before.records) {
      if (found.epoch >= above || !missing(read, found) || facts.mayBeTorn(found, read.at)) continue
      yield { rule: 'lost', text: `${told(found)} was there after epoch ${above} was answered, and is gone later` }
    }
  }
  for (const { found, began, at, where } of sightings) {
    const read = reads.find(({ began }) => facts.highestOwnedBefore(began) > found.epoch)
    if (read === undefined || !missing(read, found) || facts.mayBeTorn(found, read.at)) continue
    if (killedWithin(began, read.began)) continue
    yield at < read.began
      ? { rule: 'lost', text: `${told(found)} was seen (${where}), and is gone after its epoch had ended` }
      : { rule: 'fence', text: `${told(found)} was not there after its epoch had ended, and was seen later (${where})` }
  }
}

/** An owner begins with the newest of what there was. */
function* restored({ restorations, acknowledged, sightings, killedWithin, owners }: Facts): Generator<Violation> {
  for (const { epoch, found, at } of restorations) {
    const since = owners.get(epoch)?.[0]?.at ?? at
    for (const append of acknowledged) {
      if (append.epoch < epoch && !reaches(found ?? undefined, append.found)) {
        yield { rule: 'lost', text: `${told(append.found)} was acknowledged, and epoch ${epoch} began without it` }
      }
    }
    for (const seen of sightings) {
      if (seen.found.epoch >= epoch || reaches(found ?? undefined, seen.found)) continue
      if (killedWithin(seen.began, since)) continue
      yield { rule: 'lost', text: `${told(seen.found)} was seen (${seen.where}), and epoch ${epoch} began without it` }
    }
  }
}

function* followed(facts: Facts): Generator<Violation> {
  for (const [iteration, steps] of facts.iterations) {
    let before: Followed | undefined
    let lapped = false
    for (const step of steps) {
      if (step.type === 'lapped') {
        lapped = true
        // After a crash it may be told of a lap where nobody can tell; from the oldest on it is given all that is kept.
        if (facts.diedBefore(step.at)) before = undefined
        continue
      }
      // A standby goes back to what there is, where a crash of the unit took what it had been given.
      const taken = before && !step.every && facts.killedWithin(before.at, step.at) && !facts.isSettled(before)
      if (before && compareAge(step, before) <= 0) {
        if (!taken) yield { rule: 'follow', text: `${iteration} gave ${told(step)} behind ${told(before)}` }
      } else if (before && step.every && !lapped) {
        for (const found of facts.settledBetween(before, step)) {
          if (facts.mayBeTorn(found, step.at)) continue
          yield { rule: 'follow', text: `${iteration} left out ${told(found)}` }
        }
      }
      before = step
      lapped = false
    }
  }
}
