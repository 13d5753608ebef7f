// Everything that the benchmark compares. A contender is started by the benchmark (its servers are processes of their own)
// and driven by a client in one more process, which imports `client` and can crash alone; the raw limits are programs.
import { etcd } from './etcd.js'
import { file } from './file.js'
import { lmdb } from './lmdb.js'
import { iwarp, verbs } from './ours.js'
import { raw } from './raw.js'
import { redis } from './redis.js'

/**
 * @typedef {'visible' | 'durable' | 'read'} Work
 * @typedef {{ work: Work, bytes: number, depth: number, series: string }} Cell
 * @typedef {import('../measure.js').Measurement} Measurement
 * @typedef {{ folder: string, packages: readonly string[], span: number }} Context  a scratch folder, where packages are looked for,
 *   and the bytes that the places of payloads take
 * @typedef {{ version: string, how: string, setUp: unknown, stop(): Promise<void>,
 *   measure?(cell: Cell, seconds: number): Promise<Measurement> }} Started  `setUp` goes to the client; `measure` where there is none
 * @typedef {{ name: string, kind: 'ours' | 'peer' | 'raw', client?: URL, series: readonly { name: string, works: readonly Work[] }[],
 *   takes?(cell: Cell): boolean, start(context: Context): Promise<Started> }} Contender
 * @typedef {{ operation(cell: Cell): Promise<(number: number) => unknown>, tidy?(cell: Cell): Promise<void>,
 *   close(): Promise<void> }} Driver  what a client module's `open(setUp, span)` gives
 */

/** @type {readonly Contender[]} */
export const contenders = [iwarp, verbs, redis, lmdb, etcd, file, raw]
