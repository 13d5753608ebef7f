/** What a link to the partner process is started with, and what is checked of it before anything is touched. */
import { isIP } from 'node:net'
import { formatAddress, type HostPort, isLoopback, parseAddress } from '../address.js'
import { checkBytes, checkName, invalid, kindOf, oneOf } from '../call/check.js'
import { needed, shape, take } from '../call/shape.js'
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

const peerOptions = shape<PeerOptions>({
  listen: needed((value, what) => formatAddress(numeric(value, what))),
  partner: needed((value, what) => formatAddress(numeric(value, what))),
  name: (value) => checkName(value, 'The name of a pair'),
  secret: checkSecret,
  transport: oneOf('iwarp', 'verbs'),
})

/** @throws CheckpointError `INVALID_ARGUMENT`, `UNAUTHENTICATED` */
export function checkPeerOptions(options: PeerOptions): CheckedPeerOptions {
  const { transport = 'iwarp', name = 'default', ...given } = take(peerOptions, options)
  const listen = numeric(given.listen, 'listen')
  const partner = numeric(given.partner, 'partner')
  if (partner.port === 0) throw invalid('partner needs a port: it is where the partner listens.')
  const secret = given.secret === undefined ? undefined : secretBytes(given.secret)
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

function numeric(given: unknown, what: string): HostPort {
  const address = parseAddress(given, what)
  if (isIP(address.host) === 0) {
    throw invalid(`${what} must have a numeric address, not the name ${address.host}.`)
  }
  return address
}

/** Its message never has what was given. */
function checkSecret(secret: unknown, what: string): string | Uint8Array {
  if (typeof secret !== 'string') {
    if (!(secret instanceof Uint8Array)) {
      throw invalid(`${what} must be a string or a Uint8Array; it is ${kindOf(secret)}.`)
    }
    checkBytes(secret, what)
  }
  const { length } = secretBytes(secret)
  if (length < leastSecret) throw invalid(`${what} must have ${leastSecret} bytes or more; it has ${length}.`)
  return secret
}

function secretBytes(secret: string | Uint8Array): Uint8Array {
  return typeof secret === 'string' ? Buffer.from(secret) : secret
}
