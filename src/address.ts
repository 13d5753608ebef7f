/** Parses host:port, resolves names, and tells loopback addresses from others. */
import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { invalid, show, text } from './call/check.js'
import { asList, isList } from './call/shape.js'
import { CheckpointError } from './errors.js'
import { fromNative } from './native-error.js'

export interface HostPort {
  host: string
  port: number
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** The port on which `rdma-checkpoint serve` listens by default. */
export const defaultPort = 4790

export interface AddressRules {
  /** The port of an address that names none. If undefined, the address must name one. */
  port?: number
  /** 0 means any free port, for listening. Default 0. */
  leastPort?: number
}

/**
 * "host:port" or "[IPv6 address]:port", and the same without a port if the rules have one. Nothing else: no scheme, no path,
 * no white space, and no IPv6 address without brackets, because its last group could be the port.
 * @throws CheckpointError `INVALID_ARGUMENT`
 */
export function parseAddress(given: unknown, what: string, { port, leastPort = 0 }: AddressRules = {}): HostPort {
  const form = port === undefined ? 'host:port' : 'host:port or host'
  const address = text(given, what)
  const refuse = (why: string, help?: string) => invalid(`${what} must be ${form}; ${show(address)} ${why}.`, help)
  if (isIP(address) === 6) throw refuse('is an IPv6 address without brackets', `Write [${address}]:${defaultPort}.`)
  const match = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::(.*))?$/s.exec(address)
  if (match === null) throw refuse('is neither')
  const [, bracketed, plain, digits] = match
  const host = bracketed ?? plain ?? ''
  if (bracketed !== undefined ? isIP(host) !== 6 : !isHost(host)) {
    throw refuse(host === '' ? 'has no host' : `has the invalid host ${show(host)}`)
  }
  if (digits === undefined && port === undefined) throw refuse('has no port')
  const number = digits === undefined ? (port ?? 0) : /^\d{1,5}$/.test(digits) ? Number(digits) : -1
  if (digits !== undefined && (number < leastPort || number > 65_535)) {
    throw refuse(`has the invalid port ${show(digits)}; a port is a number from ${leastPort} to 65535`)
  }
  return { host, port: number }
}

/** The address of a unit's control service as a string. The default port is {@link defaultPort}. */
export function unitAddress(given: unknown, what = 'The unit'): string {
  return formatAddress(parseAddress(given, what, { port: defaultPort, leastPort: 1 }))
}

/** The same for one unit or a list of units. @throws CheckpointError `INVALID_ARGUMENT` */
export function unitAddresses(units: unknown): [string, ...string[]] {
  if (typeof units === 'string') return [unitAddress(units)]
  if (!isList(units)) {
    throw invalid(
      `units must be the address of a unit, host:port, or a list of addresses; it is ${show(units)}.`,
      `For example 127.0.0.1:${defaultPort}, where rdma-checkpoint serve listens by default.`,
    )
  }
  const [first, ...others] = asList(units, 'units').map((unit, index) => unitAddress(unit, `units[${index}]`))
  if (first === undefined) throw invalid('units must name one unit or more; the list is empty.')
  return [first, ...others]
}

/**
 * A name by the rules of DNS, or a complete IPv4 address. A host that ends in a number is not a name (a rule of the URL standard),
 * because resolvers treat 127.1 and 0x7f.1 as addresses.
 */
function isHost(host: string): boolean {
  if (/(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i.test(host)) return isIP(host) === 4
  return host.length <= 253 && /^(?!-)[\w-]+(?:\.[\w-]+)*\.?$/.test(host)
}

export function formatAddress({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** The numeric address. @throws CheckpointError `INVALID_ARGUMENT` */
export async function resolve(address: HostPort, what: string): Promise<HostPort> {
  if (isIP(address.host) !== 0) return address
  try {
    const { address: host } = await lookup(address.host)
    return { host, port: address.port }
  } catch (cause) {
    throw new CheckpointError('INVALID_ARGUMENT', `${what}: the name ${address.host} does not resolve.`, { cause })
  }
}

export function isLoopback(host: string): boolean {
  const family = isIP(host)
  return family !== 0 && loopback.check(host, family === 6 ? 'ipv6' : 'ipv4')
}

/** Why a native listener did not start; `what` begins the sentence. */
export function listenError(error: unknown, address: HostPort, what: string): CheckpointError {
  const coded = fromNative(error)
  if (coded.details?.systemError !== 'EADDRINUSE') return coded
  return new CheckpointError(
    'ADDRESS_IN_USE',
    `${what} cannot listen on ${formatAddress(address)}: the address is in use.`,
    {
      cause: error,
      help: 'Stop the program that listens there, or choose another port; port 0 takes any free one.',
    },
  )
}
