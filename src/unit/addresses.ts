/** Where a unit listens, and what it tells clients of that. */
import { formatAddress, type HostPort, isLoopback, listenError, parseAddress, resolve } from '../address.js'
import type { Endpoint } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import type { UnitJournal } from './journal.js'
import type { CheckedOptions } from './options.js'

/** @throws CheckpointError `UNAUTHENTICATED` for an address that strangers reach, unless that was asked for */
export async function allowedAddress(text: string, what: string, anyAddress: boolean): Promise<HostPort> {
  const address = await resolve(parseAddress(text, what), what)
  if (anyAddress || isLoopback(address.host)) return address
  throw new CheckpointError(
    'UNAUTHENTICATED',
    `${what} is ${formatAddress(address)}, which is not loopback, and no authentication is configured.`,
    {
      help:
        'Use a loopback address. Where every host that reaches the address may read, write and delete everything: ' +
        "security { mode: 'dangerously-unauthenticated' }, or --dangerously-allow-unauthenticated.",
    },
  )
}

/** @param control address of the control service, whose host is the default */
export async function dataPlaneAddresses(
  { data, advertise, anyAddress }: Pick<CheckedOptions, 'data' | 'advertise' | 'anyAddress'>,
  control: HostPort,
): Promise<HostPort[]> {
  const texts = data.length > 0 ? data : [formatAddress({ host: control.host, port: 0 })]
  const addresses = []
  for (const text of texts) {
    const address = await allowedAddress(text, 'An address of the data plane', anyAddress)
    if (isWildcard(address.host) && advertise.length === 0) {
      throw new CheckpointError(
        'INVALID_ARGUMENT',
        `The data plane listens on ${formatAddress(address)}, and clients have to be told where to connect.`,
        { help: 'Name an address of one interface, or what to advertise (--advertise host).' },
      )
    }
    addresses.push(address)
  }
  return addresses
}

/** @returns where the data plane listens: one place for each fabric and address */
export function listenOnAll(
  responder: NativeResponder,
  fabrics: readonly ('iwarp' | 'verbs')[],
  transport: CheckedOptions['transport'],
  addresses: readonly HostPort[],
  journal: UnitJournal,
): Endpoint[] {
  if (transport !== 'auto' && !fabrics.includes(transport)) {
    throw new CheckpointError('NOT_SUPPORTED', `This build has no ${transport} fabric; it has ${fabrics.join(', ')}.`, {
      help: 'Use transport iwarp, or auto.',
    })
  }
  const endpoints: Endpoint[] = []
  for (const fabric of transport === 'auto' ? fabrics : [transport]) {
    for (const address of addresses) {
      try {
        const port = responder.listen(fabric, address.host, address.port)
        endpoints.push({ transport: fabric, host: address.host, port })
      } catch (error) {
        const coded = listenError(error, address, 'The data plane')
        // With auto, a machine without a device for verbs is as good as a build without it.
        if (transport !== 'auto' || fabric === 'iwarp') throw coded
        journal.log('info', `no ${fabric} on this address`, {
          address: formatAddress(address),
          because: coded.message,
        })
      }
    }
  }
  return endpoints
}

/** What clients are told instead of where the data plane listens. */
export async function advertised(listening: readonly Endpoint[], advertise: readonly string[]): Promise<Endpoint[]> {
  if (advertise.length === 0) return [...listening]
  const told: Endpoint[] = []
  for (const [index, text] of advertise.entries()) {
    const address = await resolve(parseAddress(text, 'An advertised address', { port: 0 }), 'An advertised address')
    const sameIndex = listening[index] ?? listening[0]
    if (address.port === 0) told.push(...listening.map((endpoint) => ({ ...endpoint, host: address.host })))
    else if (sameIndex !== undefined) told.push({ transport: sameIndex.transport, ...address })
  }
  return told
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host)
}
