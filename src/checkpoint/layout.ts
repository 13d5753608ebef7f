/** Chooses the format by the region's mode. Nothing else in this folder does: the rest works on a view and a placement. */
import { CheckpointError } from '../errors.js'
import { AppendPlacement } from './append/placement.js'
import { AppendView } from './append/view.js'
import { type Geometry, geometryOf } from './geometry.js'
import type { LogView } from './log-view.js'
import { OverwritePlacement } from './overwrite/placement.js'
import { OverwriteView } from './overwrite/view.js'
import type { Placement } from './placement.js'
import { instanceBytes } from './record/header.js'
import type { RegionReadAccess, RegionWriteAccess } from './region-access.js'

/** What a writer needs. */
export interface WritingLayout {
  readonly geometry: Geometry
  readonly instance: Uint8Array
  readonly view: LogView
  readonly placement: Placement
}

/** @throws CheckpointError `REGION_MODE` */
export function layoutForReading(access: RegionReadAccess): LogView {
  if (access.mode === 'raw') {
    throw new CheckpointError('REGION_MODE', `Region ${JSON.stringify(access.name)} is raw: it holds no checkpoints.`, {
      help: 'Create the region with mode append or overwrite.',
    })
  }
  const geometry = geometryOf(access.mode, access.bytes)
  const instance = instanceBytes(access.id)
  return geometry.mode === 'append'
    ? new AppendView(access, geometry, instance)
    : new OverwriteView(access, geometry, instance)
}

/** @throws CheckpointError `REGION_MODE` */
export function layoutForWriting(access: RegionWriteAccess): WritingLayout {
  if (access.mode === 'raw') {
    throw new CheckpointError('REGION_MODE', `Region ${JSON.stringify(access.name)} is raw: it takes no checkpoints.`)
  }
  const geometry = geometryOf(access.mode, access.bytes)
  const instance = instanceBytes(access.id)
  if (geometry.mode === 'append') {
    const view = new AppendView(access, geometry, instance)
    return { geometry, instance, view, placement: new AppendPlacement(access, geometry, view, instance) }
  }
  const view = new OverwriteView(access, geometry, instance)
  return { geometry, instance, view, placement: new OverwritePlacement(access, geometry, view, instance) }
}
