package io.winnow.core.internal.kernel.array;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.IValue;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * An array whose type DJL may not know (bfloat16), kept where no Java code can touch it: half of
 * DJL's operations on such an array abort the JVM.
 *
 * <p>It also holds the TorchScript value of the array, which is a second owner of the native
 * memory, and copies of the elements as Java arrays, where steps of single tokens need them. All go
 * with {@link #close()}. Not part of the API.
 */
public final class DeviceTensor implements AutoCloseable {
  private final PtNDArray array;
  private final boolean owner;
  private @Nullable IValue value;
  private @Nullable NDManager valueManager;
  private volatile float @Nullable [][] columns;
  private volatile float @Nullable [] vector;

  private DeviceTensor(PtNDArray array, boolean owner) {
    this.array = array;
    this.owner = owner;
  }

  static DeviceTensor owning(PtNDArray array) {
    return new DeviceTensor(array, true);
  }

  /** Wraps an array that somebody else closes. */
  public static DeviceTensor borrowing(NDArray array) {
    return new DeviceTensor((PtNDArray) array, false);
  }

  /** Takes over an array: it is closed with the tensor. */
  public static DeviceTensor owning(NDArray array) {
    return new DeviceTensor((PtNDArray) array, true);
  }

  /** Returns the shape. */
  public Shape shape() {
    return array.getShape();
  }

  /** Returns whether DJL's own operations may be applied to {@link #array()}. */
  boolean isKnownToDjl() {
    return array.getDataType() != DataType.UNKNOWN;
  }

  /**
   * Returns the array itself, for operations of DJL.
   *
   * @throws IllegalStateException if it is of a type that DJL does not know
   */
  public NDArray array() {
    if (!isKnownToDjl()) {
      throw new IllegalStateException("An array in bfloat16 must not leave the kernel package");
    }
    return array;
  }

  public PtNDArray rawArray() {
    return array;
  }

  /** Returns a copy of some rows of the first dimension, which belongs to {@code manager}. */
  public DeviceTensor rows(NDManager manager, int... rows) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray index = scratch.create(Arrays.stream(rows).asLongStream().toArray());
      PtNDArray selected = (PtNDArray) array.get(index);
      return owning(selected).attach(manager);
    }
  }

  /** Returns a transposed view of a matrix, which belongs to {@code manager}. */
  public DeviceTensor transposed(NDManager manager) {
    return owning((PtNDArray) array.transpose()).attach(manager);
  }

  /** Returns a view of successive rows, which belongs to {@code manager}. */
  public DeviceTensor rowView(NDManager manager, long from, long to) {
    return owning((PtNDArray) array.get(new NDIndex().addSliceDim(from, to))).attach(manager);
  }

  /**
   * Returns a copy of a matrix's columns in float32, {@code [columns][rows]}, made on first use and
   * kept.
   */
  public float[][] columns(TorchScriptModule module) {
    float[][] current = columns;
    if (current == null) {
      synchronized (this) {
        current = columns;
        if (current == null) {
          current = copyColumns(module);
          columns = current;
        }
      }
    }
    return current;
  }

  private float[][] copyColumns(TorchScriptModule module) {
    int rows = (int) array.getShape().get(0);
    float[][] copy = new float[(int) array.getShape().get(1)][];
    try (NDManager scratch = array.getManager().newSubManager()) {
      float[] all = module.runForTensor(scratch, "columns", this).array().toFloatArray();
      for (int i = 0; i < copy.length; i++) {
        copy[i] = Arrays.copyOfRange(all, i * rows, (i + 1) * rows);
      }
    }
    return copy;
  }

  /** Returns a copy of a vector in float32, made on first use and kept. */
  public float[] vector() {
    float[] current = vector;
    if (current == null) {
      current = array().toFloatArray();
      vector = current;
    }
    return current;
  }

  /** Forgets the copies, since the tensor's elements have changed. */
  public void forgetCopies() {
    columns = null;
    vector = null;
  }

  /** Returns the bytes of a contiguous tensor in the CPU's memory, valid while it is open. */
  public ByteBuffer bytes() {
    return array.toByteBuffer(true);
  }

  /** Returns the elements of a contiguous tensor in the CPU's memory, valid while it is open. */
  public HostElements elements() {
    return new HostElements(array.toByteBuffer(true), isKnownToDjl());
  }

  /** Returns the TorchScript value, made on first use. It is closed with this tensor. */
  synchronized IValue value() {
    IValue current = value;
    if (current == null) {
      current = IValue.from(array);
      value = current;
      // Whoever closes the manager instead of the tensor closes the second owner too.
      valueManager = array.getManager();
      valueManager.attachInternal(current.getUid(), current);
    }
    return current;
  }

  /** Returns a TorchScript list that the caller closes; it owns references to the tensors. */
  public static IValue list(DeviceTensor... tensors) {
    PtNDArray[] arrays = new PtNDArray[tensors.length];
    for (int i = 0; i < tensors.length; i++) {
      arrays[i] = tensors[i].array;
    }
    return IValue.listFrom(arrays);
  }

  /**
   * Keeps an {@code NDScope} of the host, in which the tensor happens to be made, from closing what
   * later calls need.
   */
  public DeviceTensor outliveScopes() {
    NDScope.unregister(array);
    return this;
  }

  /** Moves this tensor to another manager, which then closes it at the latest. */
  public synchronized DeviceTensor attach(NDManager manager) {
    closeValue();
    array.attach(manager);
    return this;
  }

  private void closeValue() {
    if (value != null && valueManager != null) {
      valueManager.detachInternal(value.getUid());
      value.close();
      value = null;
      valueManager = null;
    }
  }

  @Override
  public synchronized void close() {
    closeValue();
    forgetCopies();
    if (owner) {
      array.close();
    }
  }
}
