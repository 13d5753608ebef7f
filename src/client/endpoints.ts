/** Which of a unit's data endpoints a client uses. */
import type { Endpoint } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { Transport } from '../types.js'

export interface DataEndpoint {
  transport: Exclude<Transport, 'auto'>
  host: string
  port: number
}

/**
 * In the order in which to try them: verbs before iwarp when `auto` was asked for and both ends have it.
 * @throws CheckpointError `NOT_SUPPORTED`
 */
export function chooseEndpoints(
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
      help:
        'Install the RDMA headers and libraries (on Debian: apt-get install libibverbs-dev librdmacm-dev rdma-core) and ' +
        "build the addon again, or use transport 'iwarp', which needs nothing installed.",
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
