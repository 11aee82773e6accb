package io.winnow.core.internal.kernel.fit;

import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The operations that fitting an expert's last matrix, and comparing two models' predictions,
 * consist of. Arrays are float32 unless said; products are float32, sums over tokens,
 * factorisations and solutions float64.
 *
 * <p>Results belong to the manager that is passed in. Thread-safe; arrays that a method changes are
 * the caller's to guard.
 */
public final class FitKernel {
  /** Tokens whose products are summed in float32. */
  private static final long PIECE = 2048;

  private final TorchScriptModule module;

  /** Compiles the methods; the manager closes them. */
  public FitKernel(NDManager parent) {
    module = TorchScriptModule.loadFit(parent);
  }

  /** Returns the sum of squares of each column, {@code [rows, columns]} to float64 [columns]. */
  public double[] energies(NDArray matrix) {
    try (NDManager scratch = matrix.getManager().newSubManager()) {
      return run(scratch, "energies", matrix).toDoubleArray();
    }
  }

  /** Returns the sum of all squares, summed in float64. */
  public double squares(NDArray array) {
    try (Borrowed borrowed = new Borrowed(array);
        IValue result = module.run("squares", borrowed.arguments())) {
      return result.toDouble();
    }
  }

  /** Returns the inner products of columns, {@code [rows, columns]} to float64 squared. */
  public NDArray columnProducts(NDManager manager, NDArray features) {
    return run(manager, "channels", features, PIECE);
  }

  /**
   * Returns the inner products of rows, each column divided by its damping, in float64.
   *
   * @param damping float64 {@code [columns]}, positive
   */
  public NDArray rowProducts(NDManager manager, NDArray features, NDArray damping) {
    return run(manager, "tokens", features, damping);
  }

  /**
   * Factors a matrix whose diagonal is added to.
   *
   * @param products symmetric, float64 {@code [n, n]}
   * @param diagonal float64 {@code [n]}, positive
   * @return the lower Cholesky factor, float64
   * @throws InvalidInputException if the matrix is not finite
   */
  public NDArray factor(NDManager manager, NDArray products, NDArray diagonal) {
    try {
      return run(manager, "factor", products, diagonal);
    } catch (EngineException e) {
      throw new InvalidInputException(
          "What an expert's last matrix multiplies is not finite, or too large for a fit; check the"
              + " model's weights",
          e);
    }
  }

  /** Returns rows times the weights {@code [rows]}. */
  public NDArray weighted(NDManager manager, NDArray rows, NDArray weights) {
    return run(manager, "weighted", rows, weights);
  }

  /**
   * Returns a copy of some rows or columns.
   *
   * @param dimension 0 for rows, 1 for columns
   */
  public NDArray select(NDManager manager, NDArray matrix, int dimension, long[] places) {
    try (NDManager scratch = manager.newSubManager()) {
      return run(manager, "select", matrix, (long) dimension, scratch.create(places));
    }
  }

  /**
   * Fits one expert's change to what the others leave.
   *
   * @param error {@code [all tokens, hiddenSize]}, what is left with the present changes; changed
   *     to what is left with the new one
   * @param tokens int64, the rows of {@code error} that take the expert
   * @param change the present one, {@code [channels, hiddenSize]}
   * @param factor of the {@link #columnProducts} of the features plus a diagonal
   * @return the new change
   */
  public NDArray primalStep(
      NDManager manager,
      NDArray error,
      NDArray tokens,
      NDArray features,
      NDArray change,
      NDArray factor) {
    return run(manager, "primal_step", error, tokens, features, change, factor, PIECE);
  }

  /**
   * Does the same from the tokens' side, which gives the same change.
   *
   * @param factor of the {@link #rowProducts} plus a weight
   * @param damping what the row products were divided by; the primal's diagonal is it times the
   *     weight
   */
  public NDArray dualStep(
      NDManager manager,
      NDArray error,
      NDArray tokens,
      NDArray features,
      NDArray change,
      NDArray factor,
      NDArray damping) {
    return run(manager, "dual_step", error, tokens, features, change, factor, damping);
  }

  /**
   * Adds a product to some rows.
   *
   * @param sums {@code [all tokens, hiddenSize]}, changed
   * @param tokens int64, the rows
   * @param features {@code [tokens, channels]}
   * @param matrix {@code [channels, hiddenSize]}
   * @param factor of the product
   */
  public void addRows(
      NDArray sums, NDArray tokens, NDArray features, NDArray matrix, double factor) {
    try (NDManager scratch = sums.getManager().newSubManager()) {
      run(scratch, "add_rows", sums, tokens, features, matrix, factor);
    }
  }

  /**
   * Returns a matrix's elements in the type of a checkpoint, in memory of their own.
   *
   * @param byColumns whether columns follow each other, not rows
   */
  public ByteBuffer stored(NDArray matrix, boolean byColumns, TensorType type) {
    int scalar = ScalarTypes.of(ScalarTypes.dataTypeOf("the last matrix of an expert", type));
    try (NDManager scratch = matrix.getManager().newSubManager();
        Borrowed borrowed = new Borrowed(matrix, byColumns, (long) scalar);
        DeviceTensor stored = module.runForTensor(scratch, "stored", borrowed.arguments())) {
      ByteBuffer inNative = stored.rawArray().toByteBuffer(true);
      ByteBuffer copy = ByteBuffer.allocate(inNative.remaining());
      return copy.put(inNative).flip();
    }
  }

  /**
   * Compares what two models predict at the same tokens.
   *
   * @param full logits of the full model, {@code [tokens, vocabulary]}
   * @param other those of the other
   * @param following int64, the token that follows each
   * @return {@code [5, tokens]}: KL(p||q); 1 where both have the same most likely token, else 0;
   *     the sum of min(p, q); the negative log-likelihood of what follows by the full model, and by
   *     the other
   */
  public float[][] fidelity(NDArray full, NDArray other, NDArray following) {
    try (NDManager scratch = full.getManager().newSubManager()) {
      float[] all = run(scratch, "fidelity", full, other, following).toFloatArray();
      int tokens = all.length / 5;
      float[][] rows = new float[5][];
      for (int i = 0; i < rows.length; i++) {
        rows[i] = Arrays.copyOfRange(all, i * tokens, (i + 1) * tokens);
      }
      return rows;
    }
  }

  private NDArray run(NDManager manager, String method, Object... arguments) {
    try (Borrowed borrowed = new Borrowed(arguments)) {
      return module.runForTensor(manager, method, borrowed.arguments()).array();
    }
  }

  /** Arguments in which arrays are lent to the module. */
  private static final class Borrowed implements AutoCloseable {
    private final List<DeviceTensor> lent = new ArrayList<>();
    private final Object[] arguments;

    Borrowed(Object... given) {
      arguments = given.clone();
      for (int i = 0; i < arguments.length; i++) {
        if (arguments[i] instanceof NDArray array) {
          DeviceTensor tensor = DeviceTensor.borrowing(array);
          lent.add(tensor);
          arguments[i] = tensor;
        }
      }
    }

    Object[] arguments() {
      return arguments;
    }

    @Override
    public void close() {
      lent.forEach(DeviceTensor::close);
    }
  }
}
