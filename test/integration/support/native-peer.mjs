// What a test needs to speak to the addon directly: loading it, opening connections, and operations as promises.
// Plain JavaScript, because Workers and child processes of the tests run it too.
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The addon that the package would load; see src/native-loader.ts. */
export function loadAddon() {
  const require = createRequire(import.meta.url)
  const override = process.env.RDMA_CHECKPOINT_ADDON
  return override ? require(path.resolve(override)) : require('node-gyp-build')(root)
}

function codedError(code, message) {
  return Object.assign(new Error(message), { nativeCode: code })
}

/** Resolves to a DataPeer once the grant is there; rejects with the reason why it was closed. */
export function openData(engine, parameters) {
  return new Promise((resolve, reject) => {
    const peer = new DataPeer(resolve, reject)
    const target = { transport: 'iwarp', host: '127.0.0.1', workDeadlineMs: 30_000, ...parameters }
    peer.channel = engine.connectData(target, peer)
  })
}

/** A data connection whose operations are promises of [code, method, errno]. */
export class DataPeer {
  grant
  closed
  /** How often onOutcomes was called. */
  batches = 0
  #pending = new Map()
  #next = 1
  #resolve
  #reject
  #ended = Promise.withResolvers?.() ?? withResolvers()

  constructor(resolve, reject) {
    this.#resolve = resolve
    this.#reject = reject
  }

  onOpen(grant) {
    this.grant = grant
    this.#resolve(this)
  }

  onOutcomes(outcomes) {
    this.batches++
    for (let i = 0; i < outcomes.length; i += 4) {
      const done = this.#pending.get(outcomes[i])
      this.#pending.delete(outcomes[i])
      done(outcomes.slice(i + 1, i + 4))
    }
  }

  onClosed(code, message) {
    this.closed = { code, message }
    this.#reject(codedError(code, message))
    this.#ended.resolve(this.closed)
  }

  /** Resolves when onClosed came, which is after every outcome. */
  get ended() {
    return this.#ended.promise
  }

  get pending() {
    return this.#pending.size
  }

  post(kind, until, offsets, buffers, flushRanges) {
    const id = this.#next++
    this.channel.post(id, { kind, until, offsets, buffers, flushRanges })
    return new Promise((resolve) => this.#pending.set(id, resolve))
  }

  write(offset, bytes, until = 1) {
    return this.post(0, until, [offset], [bytes])
  }

  read(offset, bytes) {
    return this.post(1, 0, [offset], [bytes])
  }

  flush(ranges) {
    return this.post(2, 0, [], [], ranges)
  }
}

function withResolvers() {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

/** Resolves once the session is welcomed. */
export function openSession(engine, parameters) {
  return new Promise((resolve, reject) => {
    const handler = {
      fences: [],
      onOpen(welcome) {
        handler.welcome = welcome
        resolve(handler)
      },
      onMoved() {},
      onFenced(handle, epoch) {
        handler.fences.push([handle, epoch])
      },
      onClosed(code, message) {
        handler.closed = { code, message }
        reject(codedError(code, message))
      },
    }
    handler.channel = engine.connectSession({ transport: 'iwarp', host: '127.0.0.1', ...parameters }, handler)
  })
}
