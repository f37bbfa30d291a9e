"""Runs a published TensorFlow Lite net in its own runtime, to compare the converted one with it."""

from __future__ import annotations

from collections.abc import Mapping

from ai_edge_litert.interpreter import Interpreter

from utils.build_pack.verify import Check, compare, open_converted, pictures, run_converted


def verify_tflite(name: str, converted: bytes, published: bytes, outputs: Mapping[str, str]) -> list[Check]:
    """Compare a face detector with ai-edge-litert.

    Args:
        name: of the converted file.
        converted: the ONNX file, input (1, S, S, 3) RGB in [-1, 1].
        published: the .tflite file, same input.
        outputs: name of an output in the published net -> in the converted one.
    """
    interpreter = Interpreter(model_content=published)
    interpreter.allocate_tensors()
    source, results = interpreter.get_input_details()[0], interpreter.get_output_details()
    session = open_converted(converted)
    checks = []
    for picture, image in pictures(int(source["shape"][1])).items():
        values = image * 2 - 1
        interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        expected = {outputs[result["name"]]: interpreter.get_tensor(result["index"]) for result in results}
        checks += compare(name, picture, expected, run_converted(session, values))
    return checks
