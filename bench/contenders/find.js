// Finds at run time what is never a dependency of the package: programs in PATH, and packages in the user's project or in
// folders that were named.
import { execFile } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What is needed is not there. `add` is how to get it. */
export class Absent extends Error {
  /** @param {string} reason @param {string} add */
  constructor(reason, add) {
    super(reason)
    this.add = add
  }
}

/** @param {string} name @param {string} add how to get it @param {string} [searched] like PATH */
export function findProgram(name, add, searched = process.env.PATH ?? '') {
  for (const folder of searched.split(path.delimiter).filter(Boolean)) {
    const file = path.join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // The next one may have it.
    }
  }
  throw new Absent(`no ${name} in PATH`, add)
}

/**
 * @param {string} name of a package
 * @param {readonly string[]} folders each searched as a module in it would
 * @returns {{ file: string, version: string }} what to import
 */
export function findPackage(name, folders) {
  for (const folder of folders) {
    try {
      const file = createRequire(path.join(path.resolve(folder), 'package.json')).resolve(name)
      return { file, version: versionOf(file, name) }
    } catch {
      // The next one may have it.
    }
  }
  throw new Absent(`no package ${name}`, `npm install --prefix FOLDER ${name}, then npm run bench -- --peers FOLDER`)
}

/** @param {string} file in a package @param {string} name of the package */
function versionOf(file, name) {
  for (let folder = path.dirname(file); folder !== path.dirname(folder); folder = path.dirname(folder)) {
    try {
      const about = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
      if (about.name === name) return String(about.version)
    } catch {
      // No package.json here, or another's.
    }
  }
  return 'unknown'
}

/** What a program says first when it is asked for its version. @param {string} program @param {RegExp} version */
export async function programVersion(program, version) {
  const { stdout } = await run(program, ['--version'])
  return version.exec(stdout)?.[1] ?? 'unknown'
}
