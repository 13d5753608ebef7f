/** Connects to a unit: puts together what a client is made of, and waits for its session. */
import { readFileSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import { unitAddresses } from '../address.js'
import { Call } from '../call/call.js'
import { requireNotAborted } from '../call/check.js'
import { held } from '../call/hold.js'
import { take } from '../call/shape.js'
import { VerifiedCheckpoints } from '../checkpoint/verified.js'
import { ControlChannel } from '../control/channel.js'
import { CheckpointError } from '../errors.js'
import type { NativeModule } from '../native.js'
import { fromNative } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import type { ConnectOptions } from '../types.js'
import { Client } from './client.js'
import type { ClientCore } from './client-core.js'
import { ConnectionAccount } from './connection-account.js'
import { Deadlines } from './deadlines.js'
import { EndpointChoice } from './endpoints.js'
import { acquireEngine } from './engine.js'
import { InFlightBudget } from './in-flight-budget.js'
import { connectOptions } from './options.js'
import { PollTurn } from './poll-turn.js'
import { PoolTables } from './pool-tables.js'
import { StagingMemory } from './registered-memory.js'
import { type Control, UnitSession } from './unit-session.js'

const defaultBytesInFlight = 64 * 1024 * 1024
const defaultRetryMs = 30_000
/** What a client is made from; tests put their own in. @internal */
export interface ClientParts {
  native(): NativeModule
  openControl(address: string, identity: string): Promise<Control>
}

const realParts: ClientParts = {
  native: loadNative,
  openControl: (address, identity) => ControlChannel.open(address, identity, loadNative().boundTcpSilence),
}

/**
 * Connects to a unit.
 * @param units host:port of the unit's control service; the port is 4790 unless given. A list is for mirrors, which this
 * version does not have: it may hold one address only.
 * @throws CheckpointError `CONNECTION_REFUSED` when nobody listens there; `INVALID_ARGUMENT`, `NOT_SUPPORTED`,
 * `VERSION_MISMATCH`, `TIMEOUT`, `ABORTED`, `PLATFORM_UNSUPPORTED`, `ADDON_NOT_FOUND`
 */
export function connect(units: string | readonly string[], options: ConnectOptions = {}): Promise<Client> {
  return held(connectWith(realParts, units, options))
}

/** @internal */
export async function connectWith(
  parts: ClientParts,
  units: string | readonly string[],
  options: ConnectOptions = {},
): Promise<Client> {
  const address = oneUnit(units)
  const {
    transport = 'auto',
    maxBytesInFlight = defaultBytesInFlight,
    retryMs = defaultRetryMs,
    identity = defaultIdentity(),
    ...call
  } = take(connectOptions, options)
  requireNotAborted(call)
  const connecting = new Call(`Connecting to ${address}`, call)
  const native = parts.native()
  if (transport === 'verbs') requireVerbs(native)
  const control = await parts.openControl(address, identity)
  const engine = acquireEngine(native)
  const endpoints = new EndpointChoice(transport, native.fabrics)
  let client: Client | undefined
  const account = new ConnectionAccount(address, (event) => client?.dispatchEvent(event))
  const shared = {
    engine: engine.engine,
    budget: new InFlightBudget(maxBytesInFlight),
    deadlines: new Deadlines(),
    pollTurn: new PollTurn(),
    endpoints,
    retryMs,
    account,
  }
  const session = new UnitSession({
    control,
    account,
    engine: engine.engine,
    endpoints,
    identity,
    clientVersion: packageVersion(),
  })
  const tables = new PoolTables(session, shared)
  const core: ClientCore = {
    native,
    session,
    tables,
    staging: new StagingMemory(native),
    shared,
    verified: new VerifiedCheckpoints(),
  }
  client = new Client(core, engine)
  try {
    const { timeoutMs } = connecting
    const ready = session.ready(timeoutMs === Number.POSITIVE_INFINITY ? undefined : timeoutMs)
    await connecting.race(ready)
    client.tellConnected()
    return client
  } catch (error) {
    await client.close({ timeoutMs: 1 })
    throw error
  }
}

function oneUnit(units: unknown): string {
  const [address, ...others] = unitAddresses(units)
  if (others.length === 0) return address
  throw new CheckpointError('NOT_SUPPORTED', `${1 + others.length} units were named; this version uses one.`, {
    help: 'Name one unit. Regions mirrored on several units come in a later version.',
  })
}

/** Before anything is asked of the unit, so that what is missing on this machine is told as that. */
function requireVerbs(native: NativeModule): void {
  if (!native.fabrics.includes('verbs')) {
    throw new CheckpointError('NOT_SUPPORTED', 'Transport verbs was asked for, and this build of the addon has none.', {
      help: "Upgrade rdma-checkpoint, or use transport 'iwarp', which needs nothing installed.",
    })
  }
  try {
    native.verbsDevices()
  } catch (error) {
    throw fromNative(error)
  }
}

function defaultIdentity(): string {
  let user = 'unknown'
  try {
    user = userInfo().username
  } catch {
    // A container may run under a number that has no name.
  }
  return `${user}@${hostname()}:${process.pid}`
}

let version: string | undefined

function packageVersion(): string {
  if (version === undefined) {
    const { version: found } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    version = found
  }
  return version
}
