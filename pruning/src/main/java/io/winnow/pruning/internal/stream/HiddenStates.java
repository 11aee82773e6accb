package io.winnow.pruning.internal.stream;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The hidden states of all calibration tokens between two layers, float32, sequence after sequence:
 * in a file, from which a killed run goes on, and in memory too where there is room.
 *
 * <p>Different sequences may be written and taken by several threads at once.
 */
final class HiddenStates implements AutoCloseable {
  private final Path file;
  private final FileChannel channel;
  private final NDManager manager;
  private final long sequenceBytes;
  private final int length;
  private final int width;
  private final boolean inMemory;
  private final Map<Integer, NDArray> kept = new ConcurrentHashMap<>();

  private HiddenStates(Path file, FileChannel channel, int length, int width, boolean inMemory) {
    this.file = file;
    this.channel = channel;
    this.length = length;
    this.width = width;
    this.inMemory = inMemory;
    sequenceBytes = (long) Float.BYTES * length * width;
    manager = NDManager.newBaseManager(Device.cpu(), "PyTorch");
  }

  /** Creates an empty file, or empties one. */
  static HiddenStates create(Path file, int length, int width, boolean inMemory) {
    try {
      FileChannel channel =
          FileChannel.open(
              file,
              StandardOpenOption.CREATE,
              StandardOpenOption.TRUNCATE_EXISTING,
              StandardOpenOption.READ,
              StandardOpenOption.WRITE);
      return new HiddenStates(file, channel, length, width, inMemory);
    } catch (IOException e) {
      throw StreamingState.failure("Cannot write " + file, e);
    }
  }

  /**
   * Opens what an earlier run left.
   *
   * @throws InvalidInputException if the file is not there as a whole
   */
  static HiddenStates open(Path file, int sequences, int length, int width) {
    long bytes = (long) Float.BYTES * sequences * length * width;
    try {
      if (!Files.isRegularFile(file) || Files.size(file) != bytes) {
        throw new InvalidInputException(
            file
                + " is missing or does not have "
                + bytes
                + " bytes, so that the run cannot go on; remove "
                + file.getParent()
                + " to start again");
      }
      FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
      return new HiddenStates(file, channel, length, width, false);
    } catch (IOException e) {
      throw StreamingState.failure("Cannot read " + file, e);
    }
  }

  /**
   * Stores some sequences.
   *
   * @param first the first one's number
   * @param hidden {@code [sequences * length, width]} on any device; taken over
   */
  void write(int first, NDArray hidden) {
    NDArray local = hidden;
    if (hidden.getDevice().isGpu()) {
      local = hidden.toDevice(Device.cpu(), false);
      hidden.close();
    }
    local.attach(manager);
    ByteBuffer bytes = local.toByteBuffer(true);
    long place = first * sequenceBytes;
    try {
      while (bytes.hasRemaining()) {
        place += channel.write(bytes, place);
      }
    } catch (IOException e) {
      throw StreamingState.failure("Cannot write " + file, e);
    }
    if (inMemory) {
      kept.put(first, local);
    } else {
      local.close();
    }
  }

  /**
   * Returns some sequences, for the only time.
   *
   * @param first the first one's number, from which as many were written
   * @param owner of the result {@code [count * length, width]}, on its device; not to be changed
   */
  NDArray take(int first, int count, NDManager owner) {
    NDArray local = kept.remove(first);
    if (local != null) {
      if (!owner.getDevice().isGpu()) {
        local.attach(owner);
        return local;
      }
      try (local) {
        NDArray moved = local.toDevice(owner.getDevice(), true);
        moved.attach(owner);
        return moved;
      }
    }
    try {
      // The array looks into the mapping, which lives as long as the array.
      ByteBuffer bytes =
          channel.map(FileChannel.MapMode.READ_ONLY, first * sequenceBytes, count * sequenceBytes);
      return owner.create(bytes, new Shape((long) count * length, width), DataType.FLOAT32);
    } catch (IOException e) {
      throw StreamingState.failure("Cannot read " + file, e);
    }
  }

  /** Forces everything to disk. */
  void force() {
    try {
      channel.force(true);
    } catch (IOException e) {
      throw StreamingState.failure("Cannot write " + file, e);
    }
  }

  @Override
  public void close() {
    manager.close();
    try {
      channel.close();
    } catch (IOException e) {
      throw StreamingState.failure("Cannot close " + file, e);
    }
  }

  /** Closes them, and removes the file. */
  void delete() {
    close();
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      throw StreamingState.failure("Cannot remove " + file, e);
    }
  }
}
