// Headers that lie beside the running Node (distribution packages, official archives) spare a download.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** A value for node-gyp's nodedir, or undefined when node-gyp must fetch the headers itself. */
export function localNodeDirectory() {
  const prefix = path.join(path.dirname(process.execPath), '..')
  const header = path.join(prefix, 'include', 'node', 'node_version.h')
  if (!existsSync(header)) return undefined
  const text = readFileSync(header, 'utf8')
  const number = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1]
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(number).join('.')
  return version === process.versions.node ? prefix : undefined
}
