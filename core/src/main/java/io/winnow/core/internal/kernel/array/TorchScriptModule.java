package io.winnow.core.internal.kernel.array;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValue;
import ai.djl.pytorch.jni.IValueUtils;
import ai.djl.pytorch.jni.JniUtils;
import ai.djl.training.ParameterStore;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * A TorchScript module made from text resources, and its methods as Java calls.
 *
 * <p>PyTorch's archive format is a zip of the source, a pickled empty object and a version; writing
 * it here gives us every operation of PyTorch, bfloat16 included, that DJL's Java binding lacks.
 */
public final class TorchScriptModule {
  /** Pickle protocol 2: an object of class {@code __torch__.M} with {@code training = False}. */
  private static final byte[] EMPTY_OBJECT =
      latin1("\u0080\u0002c__torch__\nM\n)\u0081}(X\u0008\u0000\u0000\u0000training\u0089ub.");

  private static final byte[] EMPTY_TUPLE = latin1("\u0080\u0002).");

  /** The methods that Java calls. */
  private static final String METHODS = "decoder.py";

  /**
   * What they consist of, by concern: the text {@code x.py} is known to others as {@code
   * __torch__.x}.
   */
  private static final List<String> TEXTS =
      List.of(
          "attention.py",
          "experts.py",
          "latent.py",
          "mixer.py",
          "positions.py",
          "products.py",
          "residual.py",
          "state.py",
          "weights.py");

  private final PtSymbolBlock block;

  private TorchScriptModule(PtSymbolBlock block) {
    this.block = block;
  }

  /** Compiles the texts beside this class; takes about 0.1 seconds. The manager closes it. */
  public static TorchScriptModule load(NDManager parent) {
    return load(parent, METHODS, TEXTS);
  }

  /** Compiles the methods of least squares, {@code fit.py}; otherwise like {@link #load}. */
  public static TorchScriptModule loadFit(NDManager parent) {
    return load(parent, "fit.py", List.of());
  }

  private static TorchScriptModule load(NDManager parent, String methods, List<String> texts) {
    // The module holds no tensor, so that it may stay on the CPU. DJL's Model.load would copy the
    // archive to a temporary folder.
    PtNDManager manager = (PtNDManager) parent.newSubManager(Device.cpu());
    try {
      InputStream archive = new ByteArrayInputStream(archive(methods, texts));
      return new TorchScriptModule(JniUtils.loadModule(manager, archive, false, false));
    } catch (IOException e) {
      manager.close();
      throw new IllegalStateException("Cannot compile the bundled kernel", e);
    } catch (RuntimeException e) {
      manager.close();
      throw e;
    }
  }

  private static byte[] source(String resource) throws IOException {
    try (InputStream in = TorchScriptModule.class.getResourceAsStream(resource)) {
      if (in == null) {
        throw new IOException("The resource " + resource + " is missing from the winnow-core jar");
      }
      return in.readAllBytes();
    }
  }

  private static byte[] archive(String methods, List<String> texts) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
      entry(zip, "m/data.pkl", EMPTY_OBJECT);
      entry(zip, "m/code/__torch__.py", source(methods));
      for (String text : texts) {
        entry(zip, "m/code/__torch__/" + text, source(text));
      }
      entry(zip, "m/constants.pkl", EMPTY_TUPLE);
      entry(zip, "m/version", latin1("3\n"));
    }
    return bytes.toByteArray();
  }

  private static void entry(ZipOutputStream zip, String name, byte[] content) throws IOException {
    zip.putNextEntry(new ZipEntry(name));
    zip.write(content);
    zip.closeEntry();
  }

  private static byte[] latin1(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  /**
   * Runs a method in inference mode.
   *
   * @param arguments {@link DeviceTensor}, {@link IValue} (both stay open), {@code Long}, {@code
   *     Integer}, {@code Double}, {@code Boolean}, {@code String}, {@code long[]}, {@code
   *     double[]}, or a {@code DeviceTensor[]} of at least one tensor
   * @return the result, which the caller closes
   */
  public IValue run(String method, Object... arguments) {
    IValue[] values = new IValue[arguments.length];
    List<IValue> temporary = new ArrayList<>(arguments.length);
    try {
      for (int i = 0; i < arguments.length; i++) {
        Object argument = arguments[i];
        if (argument instanceof IValue value) {
          values[i] = value;
        } else if (argument instanceof DeviceTensor tensor) {
          values[i] = tensor.value();
        } else {
          values[i] = convert(argument);
          temporary.add(values[i]);
        }
      }
      return IValueUtils.runMethod(block, method, values);
    } finally {
      temporary.forEach(IValue::close);
    }
  }

  private static IValue convert(Object argument) {
    if (argument instanceof Long number) {
      return IValue.from(number);
    } else if (argument instanceof Integer number) {
      return IValue.from(number.longValue());
    } else if (argument instanceof Double number) {
      return IValue.from(number);
    } else if (argument instanceof Boolean flag) {
      return IValue.from(flag);
    } else if (argument instanceof String text) {
      return IValue.from(text);
    } else if (argument instanceof long[] numbers) {
      return IValue.listFrom(numbers);
    } else if (argument instanceof double[] numbers) {
      return IValue.listFrom(numbers);
    } else if (argument instanceof DeviceTensor[] tensors) {
      return DeviceTensor.list(tensors);
    }
    throw new IllegalArgumentException("No TorchScript value for " + argument.getClass());
  }

  /** Runs a method whose result is a tensor. The result belongs to {@code manager}. */
  public DeviceTensor runForTensor(NDManager manager, String method, Object... arguments) {
    try (IValue result = run(method, arguments)) {
      return DeviceTensor.owning(result.toTensor((PtNDManager) manager));
    }
  }

  /** Runs a method whose result is a list of tensors. The results belong to {@code manager}. */
  public DeviceTensor[] runForTensors(NDManager manager, String method, Object... arguments) {
    try (IValue result = run(method, arguments)) {
      return tensors(manager, result);
    }
  }

  /** Returns the tensors of a list. They belong to {@code manager}. */
  public static DeviceTensor[] tensors(NDManager manager, IValue list) {
    PtNDArray[] arrays = list.toTensorArray((PtNDManager) manager);
    DeviceTensor[] tensors = new DeviceTensor[arrays.length];
    for (int i = 0; i < arrays.length; i++) {
      tensors[i] = DeviceTensor.owning(arrays[i]);
    }
    return tensors;
  }

  /**
   * Runs a method outside inference mode, so that its result is an ordinary tensor which autograd
   * accepts. All arguments must be arrays.
   */
  public PtNDArray runOutsideInferenceMode(NDManager manager, String method, NDArray... arguments) {
    try (NDManager scratch = manager.newSubManager()) {
      NDList inputs = new NDList(arguments);
      NDArray name = scratch.create(0);
      name.setName("module_method:" + method);
      inputs.add(name);
      NDList result;
      synchronized (block) {
        // The block remembers the mode of its last call.
        result = block.forward(new ParameterStore(scratch, false), inputs, true);
      }
      PtNDArray array = (PtNDArray) result.get(0);
      array.attach(manager);
      return array;
    }
  }
}
