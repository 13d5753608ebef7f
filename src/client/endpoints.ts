/** Which of a unit's data endpoints a client uses. */
import type { Endpoint } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { Transport } from '../types.js'

export interface DataEndpoint {
  transport: Exclude<Transport, 'auto'>
  host: string
  port: number
}

/** The endpoints of one client's unit, in the order in which its connections try them. */
export class EndpointChoice {
  #transport: Transport
  #built: readonly ('iwarp' | 'verbs')[]
  #silent = new Set<string>()
  #answered = new Set<string>()

  /** @param built what this build of the addon has */
  constructor(transport: Transport, built: readonly ('iwarp' | 'verbs')[]) {
    this.#transport = transport
    this.#built = built
  }

  /**
   * Verbs before iwarp when `auto` was asked for and both ends have it, and what was silent last.
   * @throws CheckpointError `NOT_SUPPORTED`
   */
  inOrder(offered: readonly Endpoint[]): DataEndpoint[] {
    const chosen = chooseEndpoints(this.#transport, offered, this.#built)
    const silent = (endpoint: DataEndpoint) => Number(this.#silent.has(keyOf(endpoint)))
    return chosen.sort((a, b) => silent(a) - silent(b))
  }

  answered(endpoint: DataEndpoint): void {
    this.#answered.add(keyOf(endpoint))
    this.#silent.delete(keyOf(endpoint))
  }

  /**
   * Nothing came back in the time of a set-up: a network that lets TCP pass and RDMA not, say. One that has answered this
   * client before is waited for, since a unit that is away for a while leaves both without an answer.
   */
  wasSilent(endpoint: DataEndpoint): void {
    if (!this.#answered.has(keyOf(endpoint))) this.#silent.add(keyOf(endpoint))
  }
}

function keyOf({ transport, host, port }: DataEndpoint): string {
  return `${transport} ${host} ${port}`
}

/** @throws CheckpointError `NOT_SUPPORTED` */
function chooseEndpoints(
  transport: Transport,
  offered: readonly Endpoint[],
  built: readonly ('iwarp' | 'verbs')[],
): DataEndpoint[] {
  const of = (wanted: 'iwarp' | 'verbs'): DataEndpoint[] =>
    built.includes(wanted)
      ? offered.flatMap(({ transport, host, port }) =>
          transport === wanted ? [{ transport: wanted, host, port }] : [],
        )
      : []
  if (transport === 'verbs' && !built.includes('verbs')) {
    throw new CheckpointError('NOT_SUPPORTED', 'Transport verbs was asked for, and this build of the addon has none.', {
      help: "Upgrade rdma-checkpoint, or use transport 'iwarp', which needs nothing installed.",
    })
  }
  const chosen = transport === 'auto' ? [...of('verbs'), ...of('iwarp')] : of(transport)
  if (chosen.length === 0) {
    const found = offered.map((endpoint) => endpoint.transport).join(', ') || 'none'
    throw new CheckpointError(
      'NOT_SUPPORTED',
      `Transport ${transport} was asked for; the unit offers ${found}, this build has ${built.join(', ') || 'none'}.`,
      { help: "Use transport 'auto', or start the unit with the transport that you need." },
    )
  }
  return chosen
}
