/** What a link to the partner process is started with, and what is checked of it before anything is touched. */
import { isIP } from 'node:net'
import { formatAddress, type HostPort, isLoopback, parseAddress } from '../address.js'
import { checkName, invalid } from '../client/arguments.js'
import { CheckpointError } from '../errors.js'

export interface PeerOptions {
  /** address:port on which this process listens for its partner; the partner has to know it. Port 0 takes any. */
  listen: string
  /** address:port on which the partner listens. Addresses are numeric: a name would have to be looked up before there is an event loop. */
  partner: string
  /** Names the pair, the same on both ends: two of another pair do not link. Default `default`. */
  name?: string
  /**
   * What only the two know, 16 bytes or more. Each end proves that it knows it, without telling it. Needed as soon as one of the
   * addresses is not loopback. It keeps strangers from linking; it does not encrypt.
   */
  secret?: string | Uint8Array
  /** Default `iwarp`; `auto` is not needed, since the two are configured together. */
  transport?: 'iwarp' | 'verbs'
}

export interface CheckedPeerOptions {
  listen: HostPort
  partner: HostPort
  name: string
  secret?: Uint8Array
  transport: 'iwarp' | 'verbs'
}

const leastSecret = 16

/** @throws CheckpointError `INVALID_ARGUMENT`, `UNAUTHENTICATED` */
export function checkPeerOptions(options: PeerOptions): CheckedPeerOptions {
  if (options === null || typeof options !== 'object') throw invalid('The options of a peer must be an object.')
  const listen = numeric(options.listen, 'listen')
  const partner = numeric(options.partner, 'partner')
  if (partner.port === 0) throw invalid('partner needs a port: it is where the partner listens.')
  const name = checkName(options.name ?? 'default', 'The name of a pair')
  const { transport = 'iwarp' } = options
  if (transport !== 'iwarp' && transport !== 'verbs') {
    throw invalid(`transport must be 'iwarp' or 'verbs'; it is ${JSON.stringify(transport)}.`)
  }
  const secret = options.secret === undefined ? undefined : checkSecret(options.secret)
  for (const address of [listen, partner]) {
    if (secret === undefined && !isLoopback(address.host)) {
      throw new CheckpointError(
        'UNAUTHENTICATED',
        `${formatAddress(address)} is no loopback address, and the pair has no secret: whoever reaches it could pass for the partner.`,
        { help: 'Give both ends the same secret, or use loopback addresses.' },
      )
    }
  }
  return { listen, partner, name, transport, ...(secret === undefined ? {} : { secret }) }
}

function numeric(text: string, what: string): HostPort {
  if (typeof text !== 'string') throw invalid(`${what} must be a string, address:port; it is of type ${typeof text}.`)
  const address = parseAddress(text, what)
  if (isIP(address.host) === 0) {
    throw invalid(`${what} must have a numeric address, not the name ${address.host}.`)
  }
  return address
}

function checkSecret(secret: string | Uint8Array): Uint8Array {
  if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) {
    throw invalid('secret must be a string or a Uint8Array.')
  }
  const bytes = typeof secret === 'string' ? Buffer.from(secret) : secret
  if (bytes.length < leastSecret) {
    throw invalid(`secret must have ${leastSecret} bytes or more; it has ${bytes.length}.`)
  }
  return bytes
}
