/** host:port texts, what they resolve to, and whether that is loopback. */
import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { CheckpointError } from './errors.js'
import { fromNative } from './native-error.js'

export interface HostPort {
  host: string
  port: number
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/**
 * "host:port", "[v6]:port", or with `portless` also "host" (port 0).
 * @throws CheckpointError `INVALID_ARGUMENT`
 */
export function parseAddress(text: string, what: string, portless = false): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = match?.[3] === undefined ? undefined : Number(match[3])
  if (host === undefined || (port === undefined && !portless) || (port ?? 0) > 65_535) {
    throw new CheckpointError('INVALID_ARGUMENT', `${what} is host:port, and [address]:port for IPv6; it is "${text}".`)
  }
  return { host, port: port ?? 0 }
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
    `${what} cannot listen on ${formatAddress(address)}: the address is taken.`,
    {
      cause: error,
      help: 'Stop what listens there, or choose another port; port 0 takes any.',
    },
  )
}
