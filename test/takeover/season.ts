/** A unit, a region, three processes that contend for it and one that follows it, over a number of takeovers. */
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RegionOptions } from '../../src/index.js'
import type { Random } from '../fault/support/random.mjs'
import { UnitProcess, type UnitProcessOptions, within } from '../fault/support/unit-process.js'
import { Chronicle } from './chronicle.js'
import { type Assignment, Contender, Helper, until } from './contender.js'
import { afflict, deliberate, type Fault, possible } from './faults.js'
import type { Host, Namespaces } from './namespaces.js'
import { Observer } from './observer.js'
import type { StormReport } from './storm-report.js'
import { Recorder } from './support/recorder.mjs'

const MiB = 1024 * 1024
const regionBytes = 8 * MiB
/** Less than the ring has beside its directory and the segments that are being entered. */
const keptBytes = 7 * MiB
const poolBytes = regionBytes + 8 * MiB
const maxBytes = 256 * 1024
const contenders = 3

export interface SeasonOptions {
  folder: string
  random: Random
  faults: readonly Fault[]
  takeovers: number
  unitDies: boolean
  mediaFail: boolean
  flowsDrop: boolean
  namespaces: Namespaces | undefined
  unitEnvironment: Record<string, string>
  silenceMs: number
  /** How long anything may take before it has hung. */
  patienceMs: number
  /** Address of the RDMA device that the data plane is to be on. */
  data: string | undefined
}

interface Place {
  contender: Contender
  host: Host | undefined
}

export class Season {
  readonly #options: SeasonOptions
  readonly #random: Random
  readonly #chronicle: Chronicle
  readonly #record: Recorder
  readonly #places: Place[] = []
  #unit!: UnitProcess
  /** Its death and return, if that is under way. */
  #unitReturns: Promise<void> | undefined
  #unitFailure: unknown
  #observer: Observer | undefined
  #follower!: Helper
  #followerStopped = false
  /** Two slots keep the newest, and so does what is read of them. */
  readonly #mode: 'append' | 'overwrite'
  #names = 0
  #epoch = 0

  constructor(options: SeasonOptions) {
    this.#options = options
    this.#random = options.random
    this.#mode = options.random.chance(0.25) ? 'overwrite' : 'append'
    this.#chronicle = new Chronicle(options.folder, keptBytes)
    this.#record = new Recorder(this.#chronicle.file('runner'), 'runner')
  }

  /** Adds to the report. Throws only what keeps it from telling anything. */
  async run(report: StormReport): Promise<void> {
    try {
      await this.#begin()
      for (let number = 1; number <= this.#options.takeovers; number++) {
        await this.#takeover(report)
        if (this.#chronicle.judge(report)) return
      }
      await this.#finish()
      this.#chronicle.judge(report)
    } catch (error) {
      report.wrong.push(`${error instanceof Error ? error.stack : error}`)
    } finally {
      this.#chronicle.count(report)
      await this.#end()
    }
  }

  /** While there is such a file, the medium of the unit fails. */
  get #failing(): string {
    return path.join(this.#options.folder, 'failing')
  }

  get #region(): RegionOptions {
    return { bytes: regionBytes, mode: this.#mode, lease: { silenceMs: this.#options.silenceMs } }
  }

  async #begin(): Promise<void> {
    const { namespaces, patienceMs } = this.#options
    this.#unit = await this.#startUnit()
    this.#observer = await Observer.start(this.#unit.address, 'state', this.#region, this.#record, patienceMs)
    this.#follower = new Helper('follower.mjs', {
      unit: this.#unit.address,
      region: 'state',
      id: 'follower',
      every: this.#mode === 'append',
      history: this.#chronicle.file('follower'),
    })
    let following = false
    this.#follower.onMessage((message) => {
      following ||= message.following === true
    })
    for (let index = 0; index < contenders; index++) {
      const host = namespaces?.host(index)
      this.#places.push({ contender: this.#contend(host), host })
    }
    await this.#wait('a first owner, and the follower', () => following && this.#owner())
  }

  #contend(host: Host | undefined): Contender {
    const random = this.#random
    const id = `c${++this.#names}`
    const style = this.#names === 1 || random.chance(0.5) ? 'open' : 'pair'
    const deltas = style === 'open' && this.#mode === 'append' && random.chance(0.4)
    const assignment: Assignment = {
      unit: this.#unit.address,
      region: 'state',
      id,
      history: this.#chronicle.file(id),
      style,
      seed: random.uint32(),
      create: this.#region,
      maxBytes,
      lanes: random.pick([1, 2, 4]),
      pauseMs: random.pick([0, 2, 5, 10]),
      visibleShare: random.pick([0, 0.5, 0.95]),
      ...(deltas ? { delta: { fullEvery: random.integer(2, 10) } } : {}),
    }
    return new Contender(assignment, host?.under)
  }

  async #startUnit(): Promise<UnitProcess> {
    const { namespaces, unitEnvironment, unitDies, data, folder, patienceMs } = this.#options
    const host = namespaces?.unitAddress ?? '127.0.0.1'
    const options: UnitProcessOptions = {
      pool: unitDies
        ? { medium: 'file', path: path.join(folder, 'pool'), bytes: poolBytes }
        : { medium: 'memory', bytes: poolBytes },
      env: { ...unitEnvironment, RC_TEST_FAIL_SYNC_IF: this.#failing },
      // Where it was before, when it comes back.
      listen: this.#unit?.address ?? `${host}:0`,
      data: `${data ?? host}:0`,
      startMs: patienceMs,
      flags: [
        ...(data === undefined ? [] : ['--transport', 'verbs']),
        ...(data === undefined && namespaces === undefined ? [] : ['--dangerously-allow-unauthenticated']),
      ],
      ...(namespaces === undefined ? {} : { under: namespaces.underUnit }),
    }
    return UnitProcess.start(options)
  }

  /** Who has the region, as far as anybody has said. */
  #owner(): Place | undefined {
    return this.#places
      .filter(({ contender }) => contender.role === 'owner' && contender.alive)
      .sort((a, b) => a.contender.epoch - b.contender.epoch)
      .at(-1)
  }

  #complaints(): string {
    return [this.#follower, ...this.#places.map(({ contender }) => contender)]
      .map(({ complaints }) => complaints)
      .join('')
  }

  async #wait<T>(what: string, found: () => T | undefined | false): Promise<T> {
    return until(
      () => {
        const roles = this.#places.map(
          ({ contender: { id, role, epoch, appended } }) => `${id} ${role} ${epoch} ${appended}`,
        )
        return `${what} (${roles.join(', ')}) ${this.#complaints()}`
      },
      () => {
        for (const { contender } of this.#places) {
          if (contender.process.exitCode !== null) throw new Error(`${contender.id} ended: ${contender.complaints}`)
        }
        const failure = this.#unitFailure ?? this.#observer?.failure
        if (failure !== undefined) throw failure
        if (!this.#follower.alive) throw new Error(`the follower ended: ${this.#follower.complaints}`)
        return found()
      },
      this.#options.patienceMs,
    )
  }

  async #takeover(report: StormReport): Promise<void> {
    const random = this.#random
    const { faults } = this.#options
    this.#pauseFollower()
    const place = await this.#busyOwner(report)
    await sleep(random.integer(0, 150))
    const { contender: owner, host } = place
    const epoch = owner.epoch
    const standbys = this.#places.map(({ contender }) => contender).filter(({ role }) => role === 'standby')
    const victim = { owner, host, standbys }
    const fault = random.pick(faults.filter((one) => possible(one, victim)))
    this.#record.add({ type: 'note', text: `${fault} ${owner.id}, owner of ${epoch}` })
    const takeUp = this.#options.flowsDrop && random.chance(0.7) ? await this.#dropFlows(place, report) : () => {}
    const undo = afflict(fault, victim, random)
    if (this.#options.unitDies && random.chance(0.5)) {
      this.#unitReturns = this.#restartUnit(random.integer(0, 400), report)
      this.#unitReturns.catch((error: unknown) => {
        this.#unitFailure = error
      })
    }
    // Nobody else takes a living owner's region when the one that was told to dies.
    const mayDie = !deliberate.has(fault)
    const disturbance = random.chance(0.2) ? this.#disturb(random.pick(standbys), mayDie) : undefined
    const next = await this.#wait(`an owner after the ${fault} of epoch ${epoch}`, () => {
      const now = this.#owner()?.contender
      return now !== undefined && now.epoch > epoch && now
    })
    const quiet = random.chance(0.5)
    const undoFirst = random.chance(0.5)
    if (quiet) await this.#observer?.snapshot()
    if (undoFirst) await undo()
    if (quiet) {
      await sleep(random.integer(0, 40))
      if (random.chance(0.5)) await this.#observer?.readAll()
      await this.#observer?.snapshot()
    }
    next.go(next.epoch)
    if (!undoFirst) {
      await sleep(random.integer(0, 100))
      await undo()
    }
    this.#record.add({ type: 'note', text: `${owner.id} is as before` })
    takeUp()
    await this.#unitReturns
    await disturbance
    if (fault === 'kill') place.contender = this.#contend(host)
    await this.#observer?.readAll()
    this.#epoch = next.epoch
    report.takeovers++
    report.byFault[fault] = (report.byFault[fault] ?? 0) + 1
  }

  /** Of the owner, or of a standby. @returns what lets them go on, where they still stand */
  async #dropFlows({ host, contender }: Place, report: StormReport): Promise<() => void> {
    const random = this.#random
    const victim = random.chance(0.6) ? host : random.pick(this.#places).host
    if (victim === undefined) throw new Error('flows are dropped of a host')
    const flows = victim.flows().filter(() => random.chance(0.5))
    const direction = random.pick(['both', 'out', 'in'] as const)
    const note = `drop ${flows.length} flows of ${victim.address}, ${direction}, before what befalls ${contender.id}`
    this.#record.add({ type: 'note', text: note })
    report.flowsDropped += flows.length
    const undo = victim.drop(flows, direction)
    // Until they are known to be dropped, or until something is done about it.
    await sleep(random.pick([0, random.integer(0, 300), random.integer(300, 3_000)]))
    return undo
  }

  /** A standby dies or stands still for a while: perhaps while it takes over, or just afterwards. */
  async #disturb(standby: Contender, mayDie: boolean): Promise<void> {
    const random = this.#random
    const [kill, afterMs, stoppedMs] = [random.chance(0.5) && mayDie, random.integer(0, 400), random.integer(50, 900)]
    await sleep(afterMs)
    this.#record.add({ type: 'note', text: `${kill ? 'kill' : 'stop'} ${standby.id}, a standby before` })
    if (kill) {
      await standby.kill()
      const place = this.#places.find(({ contender }) => contender === standby)
      if (place !== undefined) place.contender = this.#contend(place.host)
    } else {
      standby.stop()
      await sleep(stoppedMs)
      standby.goOn()
    }
  }

  /** Now and then it stands still for some takeovers, so that the ring goes past it. */
  #pauseFollower(): void {
    if (this.#followerStopped) this.#followerStopped = this.#random.chance(0.6)
    else this.#followerStopped = this.#random.chance(0.15)
    this.#follower.process.kill(this.#followerStopped ? 'SIGSTOP' : 'SIGCONT')
  }

  /** Whoever owns the region appends, and somebody stands by. */
  async #busyOwner(report: StormReport): Promise<Place> {
    let place: Place | undefined
    let target = 0
    let epoch = 0
    return await this.#wait('an owner that appends, and a standby', () => {
      const current = this.#owner()
      if (current === undefined) return undefined
      const { contender } = current
      if (current !== place || contender.epoch !== epoch) {
        if (contender.epoch > this.#epoch && this.#epoch > 0) report.others++
        this.#epoch = contender.epoch
        place = current
        epoch = contender.epoch
        target = contender.appended + this.#random.integer(1, 20)
        contender.go(epoch)
      }
      const ready = this.#places.some((other) => other !== current && other.contender.role === 'standby')
      return contender.appended >= target && ready && current
    })
  }

  /** Killed, or stopped in order: then what is visible is durable, so that the checker is not told of a death. */
  async #restartUnit(afterMs: number, report: StormReport): Promise<void> {
    await sleep(afterMs)
    const failed = this.#options.mediaFail && this.#random.chance(0.7)
    if (failed) {
      this.#record.add({ type: 'note', text: 'the medium fails' })
      writeFileSync(this.#failing, '')
      await sleep(this.#random.integer(20, 500))
      report.mediaFailures++
    }
    if (!failed && this.#random.chance(0.3)) {
      await within(this.#unit.stop(), this.#options.patienceMs, 'an orderly stop of the unit')
      report.unitStops++
    } else {
      this.#record.add({ type: 'unit-killed' })
      await this.#unit.kill()
      this.#record.add({ type: 'unit-killed' })
      report.unitKills++
    }
    await sleep(this.#random.integer(0, 200))
    rmSync(this.#failing, { force: true })
    this.#unit = await this.#startUnit()
  }

  /** Nobody appends any more, and the follower comes to the end. */
  async #finish(): Promise<void> {
    await Promise.all(this.#places.map(({ contender }) => contender.kill()))
    await this.#observer?.finish()
    const newest = this.#chronicle.newest()
    if (newest === undefined) throw new Error('nothing is in the log')
    this.#follower.process.kill('SIGCONT')
    this.#follower.tell({ until: newest })
    const { patienceMs } = this.#options
    await until(
      () => `the follower at checkpoint ${newest.sequence} of epoch ${newest.epoch}`,
      () => !this.#follower.alive,
      patienceMs,
    )
  }

  async #end(): Promise<void> {
    await Promise.all(this.#places.map(({ contender }) => contender.kill()))
    await this.#follower?.kill()
    await this.#observer?.close()
    await this.#unitReturns?.catch(() => {})
    await this.#unit?.kill()
    for (const { host } of this.#places) host?.join()
  }
}
