// What a benchmark says of the machine that it ran on: no name of it, and no path.
import { statfsSync } from 'node:fs'
import os from 'node:os'

/** @param {string} folder where pools and files lie */
export function describeMachine(folder) {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.cpus().length,
    kernel: os.release(),
    node: process.version,
    fileSystem: fileSystemOf(folder),
    load: os.loadavg()[0] ?? 0,
  }
}

/** The kind of file system matters: on tmpfs a sync costs nothing. @param {string} directory */
function fileSystemOf(directory) {
  const known = new Map([
    [0xef53, 'ext4'],
    [0x01021994, 'tmpfs (a sync does nothing there)'],
    [0x58465342, 'xfs'],
    [0x9123683e, 'btrfs'],
    [0x794c7630, 'overlayfs'],
  ])
  const type = statfsSync(directory).type
  return known.get(type) ?? `file system 0x${type.toString(16)}`
}
